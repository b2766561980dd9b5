import { allowedIn, type VmInstanceInventory } from '../contract/generated';
import type { CallName } from '../api/client';
import { define, DESCRIPTION, edit, NAME, states, type Action } from './define';

/** Possible in the states that the contract lists for the call. */
function vm(key: string, label: Action<VmInstanceInventory>['label'], api: CallName, more: Partial<Action<VmInstanceInventory>> = {}): Action<VmInstanceInventory> {
  return { key, label, api, batch: true, when: (item) => allowedIn[api]?.includes(String(item.state)) ?? true, ...more };
}

const notIn = (...states: string[]) => (item: VmInstanceInventory) => !states.includes(String(item.state));

export const vms = define({
  kind: 'vms',
  query: 'QueryVmInstance',
  one: 'r.vm',
  many: 'r.vms',
  only: ['type=UserVm'],
  columns: [
    { field: 'name' },
    { field: 'state', shown: 'state', values: 'VmInstanceState' },
    { field: 'vmNics', label: 'f.ip', sortable: false, text: (item) => (item.vmNics ?? []).map((nic) => nic.ip).filter(Boolean).join(', ') },
    { field: 'cpuNum', shown: 'number' },
    { field: 'memorySize', shown: 'bytes' },
    { field: 'hostUuid', refers: 'hosts' },
    { field: 'imageUuid', refers: 'images' },
    { field: 'createDate', shown: 'date' },
  ],
  details: [
    { field: 'platform' },
    { field: 'architecture' },
    { field: 'guestOsType' },
    { field: 'zoneUuid', refers: 'zones' },
    { field: 'clusterUuid', refers: 'clusters' },
    { field: 'lastHostUuid', refers: 'hosts' },
    { field: 'instanceOfferingUuid', refers: 'instance-offerings' },
    { field: 'rootVolumeUuid', refers: 'volumes' },
    { field: 'defaultL3NetworkUuid', refers: 'l3-networks' },
    { field: 'lastOpDate', shown: 'date' },
  ],
  create: [
    {
      key: 'create',
      label: 'a.create',
      api: 'CreateVmInstance',
      fits: true,
      fields: [
        NAME,
        { name: 'imageUuid', input: 'resource', refers: 'images', required: true, only: () => ['state=Enabled', 'status=Ready', 'mediaType!=DataVolumeTemplate'] },
        { name: 'instanceOfferingUuid', input: 'resource', refers: 'instance-offerings', required: true, only: () => ['state=Enabled', 'type=UserVm'] },
        { name: 'l3NetworkUuids', input: 'resources', refers: 'l3-networks', required: true, only: () => ['state=Enabled', 'system=false'] },
        { name: 'rootDiskSize', input: 'bytes' },
        { name: 'clusterUuid', input: 'resource', refers: 'clusters', only: () => ['state=Enabled'] },
        { name: 'hostUuid', input: 'resource', refers: 'hosts', only: () => ['state=Enabled', 'status=Connected'] },
        { name: 'affinityGroup', label: 'r.affinityGroup', input: 'resource', refers: 'affinity-groups', only: () => ['state=Enabled'] },
        { name: 'hostname' },
        { name: 'strategy', input: 'choice', values: ['InstantStart', 'CreateStopped'], initial: 'InstantStart' },
        DESCRIPTION,
      ],
      prepare: ({ hostname, affinityGroup, ...values }) => {
        const systemTags = [
          ...(hostname ? [`hostname::${String(hostname)}`] : []),
          ...(affinityGroup ? [`affinityGroupUuid::${String(affinityGroup)}`] : []),
        ];
        return systemTags.length > 0 ? { ...values, systemTags } : values;
      },
    },
  ],
  actions: [
    vm('start', 'a.start', 'StartVmInstance', { when: (item) => ['Stopped', 'Created', 'Crashed'].includes(String(item.state)) }),
    vm('stop', 'a.stop', 'StopVmInstance', { confirm: true, when: (item) => ['Running', 'Paused', 'Crashed', 'NoState', 'Unknown'].includes(String(item.state)) }),
    vm('reboot', 'a.reboot', 'RebootVmInstance', { confirm: true }),
    vm('console', 'a.console', 'RequestConsoleAccess', {
      special: 'console',
      batch: false,
      params: (item) => ({ vmInstanceUuid: item.uuid }),
      when: (item) => ['Running', 'Paused'].includes(String(item.state)),
    }),
    vm('pause', 'a.pause', 'PauseVmInstance'),
    vm('resume', 'a.resume', 'ResumeVmInstance'),
    vm('powerOff', 'a.powerOff', 'StopVmInstance', {
      confirm: true,
      when: (item) => ['Running', 'Paused'].includes(String(item.state)),
      params: (item) => ({ uuid: item.uuid, type: 'cold' }),
    }),
    vm('snapshot', 'a.snapshot', 'CreateVolumeSnapshot', {
      batch: false,
      when: (item) => ['Running', 'Paused', 'Stopped'].includes(String(item.state)),
      params: (item) => ({ volumeUuid: item.rootVolumeUuid }),
      fields: [NAME, DESCRIPTION],
    }),
    vm('image', 'a.imageFromVm', 'CreateRootVolumeTemplateFromRootVolume', {
      batch: false,
      when: (item) => item.state === 'Stopped',
      params: (item) => ({ rootVolumeUuid: item.rootVolumeUuid }),
      fields: [
        NAME,
        { name: 'backupStorageUuids', input: 'resources', refers: 'image-servers', required: true, only: () => ['state=Enabled', 'status=Connected'] },
        DESCRIPTION,
      ],
    }),
    vm('resize', 'a.resize', 'ResizeRootVolume', {
      batch: false,
      when: (item) => ['Running', 'Stopped'].includes(String(item.state)),
      params: (item) => ({ vmInstanceUuid: item.uuid }),
      fields: [{ name: 'size', input: 'bytes', required: true, initial: (item) => item?.allVolumes?.find((one) => one.type === 'Root')?.size }],
    }),
    { ...edit('UpdateVmInstance'), when: notIn('Destroyed') },
    vm('recover', 'a.recover', 'RecoverVmInstance'),
    vm('destroy', 'a.destroy', 'DestroyVmInstance', {
      removes: 'recycle',
    }),
    vm('expunge', 'a.expunge', 'ExpungeVmInstance', {
      removes: 'forever',
    }),
  ],
  related: [
    { kind: 'volumes', conditions: (item) => [`vmInstanceUuid=${item.uuid}`] },
    { kind: 'snapshots', conditions: (item) => [`volumeUuid=${item.rootVolumeUuid}`] },
  ],
});

export const instanceOfferings = define({
  kind: 'instance-offerings',
  query: 'QueryInstanceOffering',
  one: 'r.instanceOffering',
  many: 'r.instanceOfferings',
  only: ['type=UserVm'],
  columns: [
    { field: 'name' },
    { field: 'state', shown: 'state', values: 'InstanceOfferingState' },
    { field: 'cpuNum', shown: 'number' },
    { field: 'memorySize', shown: 'bytes' },
    { field: 'allocatorStrategy' },
    { field: 'createDate', shown: 'date' },
  ],
  details: [{ field: 'reservedMemorySize', shown: 'bytes' }, { field: 'sortKey', shown: 'number' }, { field: 'lastOpDate', shown: 'date' }],
  create: [
    {
      key: 'create',
      label: 'a.create',
      api: 'CreateInstanceOffering',
      fields: [NAME, { name: 'cpuNum', input: 'integer', initial: 1 }, { name: 'memorySize', input: 'bytes', initial: 1 << 30 }, DESCRIPTION],
    },
  ],
  actions: [
    ...states('ChangeInstanceOfferingState'),
    edit('UpdateInstanceOffering'),
    {
      key: 'delete',
      label: 'a.delete',
      api: 'DeleteInstanceOffering',
      batch: true,
      removes: 'records',
    },
  ],
  related: [{ kind: 'vms', conditions: (item) => [`instanceOfferingUuid=${item.uuid}`] }],
});

export const affinityGroups = define({
  kind: 'affinity-groups',
  query: 'QueryAffinityGroup',
  one: 'r.affinityGroup',
  many: 'r.affinityGroups',
  columns: [
    { field: 'name' },
    { field: 'state', shown: 'state' },
    { field: 'policy', shown: 'word' },
    { field: 'usages', sortable: false, text: (item) => String(item.usages?.length ?? 0) },
    { field: 'zoneUuid', refers: 'zones' },
    { field: 'createDate', shown: 'date' },
  ],
  details: [{ field: 'type' }, { field: 'lastOpDate', shown: 'date' }],
  create: [
    {
      key: 'create',
      label: 'a.create',
      api: 'CreateAffinityGroup',
      fields: [NAME, { name: 'policy', input: 'choice', required: true, initial: 'antiSoft' }, { name: 'zoneUuid', input: 'resource', refers: 'zones' }, DESCRIPTION],
    },
  ],
  actions: [
    ...states('ChangeAffinityGroupState'),
    {
      key: 'addVm',
      label: 'a.addVm',
      api: 'AddVmToAffinityGroup',
      params: (item) => ({ affinityGroupUuid: item.uuid }),
      fields: [{ name: 'uuid', label: 'f.vmInstanceUuid', input: 'resource', refers: 'vms', required: true, only: () => ['state!=Destroyed'] }],
    },
    {
      key: 'removeVm',
      label: 'a.removeVm',
      api: 'RemoveVmFromAffinityGroup',
      when: (item) => (item.usages?.length ?? 0) > 0,
      params: (item) => ({ affinityGroupUuid: item.uuid }),
      fields: [
        {
          name: 'uuid',
          label: 'f.vmInstanceUuid',
          input: 'resource',
          refers: 'vms',
          required: true,
          only: (item) => [`uuid?=${(item?.usages ?? []).map((usage) => String((usage as { resourceUuid?: string }).resourceUuid)).join(',')}`],
        },
      ],
    },
    edit('UpdateAffinityGroup'),
    { key: 'delete', label: 'a.delete', api: 'DeleteAffinityGroup', batch: true, removes: 'records' },
  ],
  related: [
    {
      kind: 'vms',
      conditions: (item) => [`uuid?=${(item.usages ?? []).map((usage) => String((usage as { resourceUuid?: string }).resourceUuid)).join(',')}`],
    },
  ],
});
