import { define, DESCRIPTION, edit, NAME, states } from './define';

const EXTENDS = ['Running', 'Stopped', 'Paused'];

export const volumes = define({
  kind: 'volumes',
  query: 'QueryVolume',
  one: 'r.volume',
  many: 'r.volumes',
  columns: [
    { field: 'name' },
    { field: 'type', shown: 'word', values: 'VolumeType' },
    { field: 'state', shown: 'state', values: 'VolumeState' },
    { field: 'status', shown: 'state', values: 'VolumeStatus' },
    { field: 'size', shown: 'bytes' },
    { field: 'vmInstanceUuid', refers: 'vms' },
    { field: 'primaryStorageUuid', refers: 'primary-storage' },
    { field: 'createDate', shown: 'date' },
  ],
  details: [
    { field: 'actualSize', shown: 'bytes' },
    { field: 'format' },
    { field: 'deviceId', shown: 'number' },
    { field: 'isShareable', shown: 'flag' },
    { field: 'diskOfferingUuid', refers: 'disk-offerings' },
    { field: 'installPath', shown: 'code' },
    { field: 'lastOpDate', shown: 'date' },
  ],
  create: [
    {
      key: 'create',
      label: 'a.create',
      api: 'CreateDataVolume',
      fields: [
        NAME,
        { name: 'diskOfferingUuid', input: 'resource', refers: 'disk-offerings', only: () => ['state=Enabled'] },
        { name: 'diskSize', input: 'bytes' },
        { name: 'primaryStorageUuid', input: 'resource', refers: 'primary-storage', only: () => ['state=Enabled', 'status=Connected'] },
        DESCRIPTION,
      ],
    },
  ],
  actions: [
    {
      key: 'attach',
      label: 'a.attachVm',
      api: 'AttachDataVolumeToVm',
      when: (item) => item.type === 'Data' && !item.vmInstanceUuid && item.status !== 'Deleted',
      params: (item) => ({ volumeUuid: item.uuid }),
      fields: [{ name: 'vmInstanceUuid', input: 'resource', refers: 'vms', only: () => [`state?=${EXTENDS.join(',')}`] }],
    },
    {
      key: 'detach',
      label: 'a.detachVm',
      api: 'DetachDataVolumeFromVm',
      when: (item) => item.type === 'Data' && Boolean(item.vmInstanceUuid),
      confirm: true,
    },
    {
      key: 'snapshot',
      label: 'a.snapshot',
      api: 'CreateVolumeSnapshot',
      when: (item) => item.status === 'Ready',
      params: (item) => ({ volumeUuid: item.uuid }),
      fields: [NAME, DESCRIPTION],
    },
    {
      key: 'resize',
      label: 'a.resize',
      api: 'ResizeDataVolume',
      when: (item) => item.type === 'Data' && item.status === 'Ready',
      fields: [{ name: 'size', input: 'bytes', initial: (item) => item?.size }],
    },
    ...states('ChangeVolumeState'),
    edit('UpdateVolume'),
    { key: 'recover', label: 'a.recover', api: 'RecoverDataVolume', when: (item) => item.status === 'Deleted' && item.type === 'Data', batch: true },
    {
      key: 'delete',
      label: 'a.delete',
      api: 'DeleteDataVolume',
      batch: true,
      when: (item) => item.type === 'Data' && item.status !== 'Deleted',
      removes: 'recycle',
    },
    {
      key: 'expunge',
      label: 'a.expunge',
      api: 'ExpungeDataVolume',
      batch: true,
      when: (item) => item.type === 'Data' && item.status === 'Deleted',
      removes: 'forever',
    },
  ],
  related: [{ kind: 'snapshots', conditions: (item) => [`volumeUuid=${item.uuid}`] }],
});

export const snapshots = define({
  kind: 'snapshots',
  query: 'QueryVolumeSnapshot',
  one: 'r.snapshot',
  many: 'r.snapshots',
  columns: [
    { field: 'name' },
    { field: 'status', shown: 'state', values: 'VolumeSnapshotStatus' },
    { field: 'volumeUuid', refers: 'volumes' },
    { field: 'volumeType', shown: 'word' },
    { field: 'size', shown: 'bytes' },
    { field: 'latest', shown: 'flag' },
    { field: 'createDate', shown: 'date' },
  ],
  details: [
    { field: 'state', shown: 'state' },
    { field: 'parentUuid', refers: 'snapshots' },
    { field: 'primaryStorageUuid', refers: 'primary-storage' },
    { field: 'format' },
    { field: 'lastOpDate', shown: 'date' },
  ],
  actions: [
    { key: 'revert', label: 'a.revert', api: 'RevertVolumeFromSnapshot', confirm: true, when: (item) => item.status === 'Ready' },
    {
      key: 'volume',
      label: 'a.volumeFromSnapshot',
      api: 'CreateDataVolumeFromVolumeSnapshot',
      when: (item) => item.status === 'Ready',
      params: (item) => ({ volumeSnapshotUuid: item.uuid }),
      fields: [NAME, DESCRIPTION],
    },
    edit('UpdateVolumeSnapshot'),
    {
      key: 'delete',
      label: 'a.delete',
      api: 'DeleteVolumeSnapshot',
      batch: true,
      removes: 'forever',
    },
  ],
  related: [{ kind: 'snapshots', conditions: (item) => [`parentUuid=${item.uuid}`] }],
});

/** Formats that images come in. */
const FORMATS = ['qcow2', 'raw', 'iso'];

export const images = define({
  kind: 'images',
  query: 'QueryImage',
  one: 'r.image',
  many: 'r.images',
  columns: [
    { field: 'name' },
    { field: 'state', shown: 'state', values: 'ImageState' },
    { field: 'status', shown: 'state', values: 'ImageStatus' },
    { field: 'mediaType', shown: 'word', values: 'ImageMediaType' },
    { field: 'platform', values: 'ImagePlatform' },
    { field: 'format' },
    { field: 'size', shown: 'bytes' },
    { field: 'createDate', shown: 'date' },
  ],
  details: [
    { field: 'actualSize', shown: 'bytes' },
    { field: 'architecture' },
    { field: 'guestOsType' },
    { field: 'url', shown: 'code' },
    { field: 'md5Sum', shown: 'code' },
    { field: 'lastOpDate', shown: 'date' },
  ],
  create: [
    { key: 'upload', label: 'a.upload', api: 'AddImage', special: 'upload' },
    {
      key: 'add',
      label: 'a.add',
      api: 'AddImage',
      fields: [
        NAME,
        { name: 'url', hint: 'https://images.example.org/system.qcow2' },
        { name: 'mediaType', input: 'choice', initial: 'RootVolumeTemplate', required: true },
        { name: 'format', input: 'choice', values: FORMATS, initial: 'qcow2', required: true },
        { name: 'platform', input: 'choice', initial: 'Linux', required: true },
        { name: 'backupStorageUuids', input: 'resources', refers: 'image-servers', only: () => ['state=Enabled', 'status=Connected'] },
        DESCRIPTION,
      ],
    },
  ],
  actions: [
    ...states('ChangeImageState'),
    edit('UpdateImage'),
    { key: 'recover', label: 'a.recover', api: 'RecoverImage', when: (item) => item.status === 'Deleted', params: (item) => ({ imageUuid: item.uuid }), batch: true },
    {
      key: 'delete',
      label: 'a.delete',
      api: 'DeleteImage',
      batch: true,
      when: (item) => item.status !== 'Deleted',
      removes: 'recycle',
    },
    {
      key: 'expunge',
      label: 'a.expunge',
      api: 'ExpungeImage',
      batch: true,
      when: (item) => item.status === 'Deleted',
      params: (item) => ({ imageUuid: item.uuid }),
      removes: 'forever',
    },
  ],
  related: [{ kind: 'vms', conditions: (item) => [`imageUuid=${item.uuid}`] }],
});

export const diskOfferings = define({
  kind: 'disk-offerings',
  query: 'QueryDiskOffering',
  one: 'r.diskOffering',
  many: 'r.diskOfferings',
  columns: [
    { field: 'name' },
    { field: 'state', shown: 'state', values: 'DiskOfferingState' },
    { field: 'diskSize', shown: 'bytes' },
    { field: 'createDate', shown: 'date' },
  ],
  details: [{ field: 'allocatorStrategy' }, { field: 'sortKey', shown: 'number' }, { field: 'lastOpDate', shown: 'date' }],
  create: [{ key: 'create', label: 'a.create', api: 'CreateDiskOffering', fields: [NAME, { name: 'diskSize', input: 'bytes', initial: 20 * 2 ** 30 }, DESCRIPTION] }],
  actions: [
    ...states('ChangeDiskOfferingState'),
    edit('UpdateDiskOffering'),
    {
      key: 'delete',
      label: 'a.delete',
      api: 'DeleteDiskOffering',
      batch: true,
      removes: 'records',
    },
  ],
  related: [{ kind: 'volumes', conditions: (item) => [`diskOfferingUuid=${item.uuid}`] }],
});
