import { define, DESCRIPTION, edit, IDENTITY, NAME, states } from './define';

const WITH_MAINTENANCE = {
  enable: { label: 'a.enable', from: ['Disabled', 'Maintenance', 'PreMaintenance'] },
  disable: { label: 'a.disable', from: ['Enabled', 'Maintenance'] },
  maintain: { label: 'a.maintain', from: ['Enabled', 'Disabled'], confirm: true },
} as const;

export const zones = define({
  kind: 'zones',
  query: 'QueryZone',
  one: 'r.zone',
  many: 'r.zones',
  columns: [
    { field: 'name' },
    { field: 'state', shown: 'state', values: 'ZoneState' },
    { field: 'isDefault', shown: 'flag' },
    { field: 'description' },
    { field: 'createDate', shown: 'date' },
  ],
  details: [{ field: 'type' }, { field: 'lastOpDate', shown: 'date' }],
  create: [{ key: 'create', label: 'a.create', api: 'CreateZone', fields: [NAME, { name: 'isDefault', input: 'flag' }, DESCRIPTION] }],
  actions: [
    ...states('ChangeZoneState'),
    edit('UpdateZone'),
    {
      key: 'delete',
      label: 'a.delete',
      api: 'DeleteZone',
      removes: 'records',
    },
  ],
  related: [
    { kind: 'clusters', conditions: (item) => [`zoneUuid=${item.uuid}`] },
    { kind: 'hosts', conditions: (item) => [`zoneUuid=${item.uuid}`] },
    { kind: 'primary-storage', conditions: (item) => [`zoneUuid=${item.uuid}`] },
  ],
});

export const clusters = define({
  kind: 'clusters',
  query: 'QueryCluster',
  one: 'r.cluster',
  many: 'r.clusters',
  columns: [
    { field: 'name' },
    { field: 'state', shown: 'state', values: 'ClusterState' },
    { field: 'hypervisorType' },
    { field: 'architecture' },
    { field: 'zoneUuid', refers: 'zones' },
    { field: 'createDate', shown: 'date' },
  ],
  details: [{ field: 'type' }, { field: 'lastOpDate', shown: 'date' }],
  create: [
    {
      key: 'create',
      label: 'a.create',
      api: 'CreateCluster',
      fields: [NAME, { name: 'zoneUuid', input: 'resource', refers: 'zones' }, { name: 'hypervisorType', input: 'choice', values: ['KVM'], initial: 'KVM' }, DESCRIPTION],
    },
  ],
  actions: [
    ...states('ChangeClusterState'),
    edit('UpdateCluster'),
    {
      key: 'delete',
      label: 'a.delete',
      api: 'DeleteCluster',
      removes: 'records',
    },
  ],
  related: [
    { kind: 'hosts', conditions: (item) => [`clusterUuid=${item.uuid}`] },
    { kind: 'vms', conditions: (item) => [`clusterUuid=${item.uuid}`] },
  ],
});

/** How long a one-time code lives, in seconds. */
const LIFETIMES = [
  { value: '600', label: '10 min' },
  { value: '3600', label: '1 h' },
  { value: '86400', label: '24 h' },
  { value: '604800', label: '7 d' },
  { value: '2592000', label: '30 d' },
];

export const hosts = define({
  kind: 'hosts',
  query: 'QueryHost',
  one: 'r.host',
  many: 'r.hosts',
  columns: [
    { field: 'name' },
    { field: 'state', shown: 'state', values: 'HostState' },
    { field: 'status', shown: 'state', values: 'HostStatus' },
    { field: 'managementIp' },
    { field: 'availableCpuCapacity', shown: 'number' },
    { field: 'availableMemoryCapacity', shown: 'bytes' },
    { field: 'clusterUuid', refers: 'clusters' },
    { field: 'createDate', shown: 'date' },
  ],
  details: [
    { field: 'cpuNum', shown: 'number' },
    { field: 'cpuSockets', shown: 'number' },
    { field: 'totalCpuCapacity', shown: 'number' },
    { field: 'totalMemoryCapacity', shown: 'bytes' },
    { field: 'architecture' },
    { field: 'hypervisorType' },
    { field: 'zoneUuid', refers: 'zones' },
    { field: 'lastOpDate', shown: 'date' },
  ],
  create: [
    {
      key: 'enrol',
      label: 'a.addByCode',
      api: 'CreateHostEnrolmentCode',
      special: 'enrolment',
      fields: [
        { name: 'clusterUuid', input: 'resource', refers: 'clusters', only: () => ['hypervisorType=KVM'] },
        { name: 'lifetimeSeconds', input: 'choice', required: true, initial: '3600', values: () => LIFETIMES },
        { name: 'uses', input: 'integer', required: true, initial: 1 },
      ],
    },
    {
      key: 'add',
      label: 'a.add',
      api: 'AddKVMHost',
      fields: [
        NAME,
        { name: 'clusterUuid', input: 'resource', refers: 'clusters', only: () => ['hypervisorType=KVM'] },
        { name: 'managementIp', hint: '192.0.2.10' },
        { name: 'sshPort', input: 'integer', initial: 22 },
        { name: 'username', initial: 'root' },
        { name: 'password', input: 'password' },
        DESCRIPTION,
      ],
    },
  ],
  actions: [
    { key: 'reconnect', label: 'a.reconnect', api: 'ReconnectHost', batch: true, confirm: true },
    ...states('ChangeHostState', WITH_MAINTENANCE),
    {
      ...edit('UpdateKVMHost'),
      fields: [
        ...IDENTITY,
        { name: 'managementIp', initial: (item) => item?.managementIp },
        { name: 'username' },
        { name: 'password', input: 'password' },
        { name: 'sshPort', input: 'integer' },
      ],
    },
    {
      key: 'delete',
      label: 'a.delete',
      api: 'DeleteHost',
      removes: 'records',
    },
  ],
  related: [{ kind: 'vms', conditions: (item) => [`hostUuid=${item.uuid}`] }],
});

export const primaryStorages = define({
  kind: 'primary-storage',
  query: 'QueryPrimaryStorage',
  one: 'r.primaryStorage',
  many: 'r.primaryStorages',
  columns: [
    { field: 'name' },
    { field: 'state', shown: 'state', values: 'PrimaryStorageState' },
    { field: 'status', shown: 'state', values: 'PrimaryStorageStatus' },
    { field: 'type' },
    { field: 'availableCapacity', shown: 'bytes' },
    { field: 'totalCapacity', shown: 'bytes' },
    { field: 'zoneUuid', refers: 'zones' },
    { field: 'createDate', shown: 'date' },
  ],
  details: [
    { field: 'url', shown: 'code' },
    { field: 'availablePhysicalCapacity', shown: 'bytes' },
    { field: 'totalPhysicalCapacity', shown: 'bytes' },
    { field: 'attachedClusterUuids', refers: 'clusters' },
    { field: 'lastOpDate', shown: 'date' },
  ],
  create: [
    {
      key: 'add',
      label: 'a.add',
      api: 'AddLocalPrimaryStorage',
      fields: [NAME, { name: 'zoneUuid', input: 'resource', refers: 'zones' }, { name: 'url', label: 'f.installPath', initial: '/zstack_ps' }, DESCRIPTION],
    },
  ],
  actions: [
    {
      key: 'attach',
      label: 'a.attachCluster',
      api: 'AttachPrimaryStorageToCluster',
      params: (item) => ({ primaryStorageUuid: item.uuid }),
      fields: [{ name: 'clusterUuid', input: 'resource', refers: 'clusters', only: (item) => [`zoneUuid=${item?.zoneUuid}`, `uuid!?=${(item?.attachedClusterUuids ?? []).join(',')}`] }],
    },
    {
      key: 'detach',
      label: 'a.detachCluster',
      api: 'DetachPrimaryStorageFromCluster',
      when: (item) => (item.attachedClusterUuids?.length ?? 0) > 0,
      params: (item) => ({ primaryStorageUuid: item.uuid }),
      fields: [{ name: 'clusterUuid', input: 'resource', refers: 'clusters', only: (item) => [`uuid?=${(item?.attachedClusterUuids ?? []).join(',')}`] }],
    },
    { key: 'reconnect', label: 'a.reconnect', api: 'ReconnectPrimaryStorage', batch: true },
    ...states('ChangePrimaryStorageState', WITH_MAINTENANCE),
    edit('UpdatePrimaryStorage'),
    {
      key: 'delete',
      label: 'a.delete',
      api: 'DeletePrimaryStorage',
      removes: 'records',
    },
  ],
  related: [{ kind: 'volumes', conditions: (item) => [`primaryStorageUuid=${item.uuid}`] }],
});

export const backupStorages = define({
  kind: 'image-servers',
  query: 'QueryBackupStorage',
  one: 'r.backupStorage',
  many: 'r.backupStorages',
  columns: [
    { field: 'name' },
    { field: 'state', shown: 'state', values: 'BackupStorageState' },
    { field: 'status', shown: 'state', values: 'BackupStorageStatus' },
    { field: 'type' },
    { field: 'availableCapacity', shown: 'bytes' },
    { field: 'totalCapacity', shown: 'bytes' },
    { field: 'createDate', shown: 'date' },
  ],
  details: [
    { field: 'url', shown: 'code' },
    { field: 'attachedZoneUuids', refers: 'zones' },
    { field: 'lastOpDate', shown: 'date' },
  ],
  create: [
    {
      key: 'add',
      label: 'a.add',
      api: 'AddImageStoreBackupStorage',
      fields: [
        NAME,
        { name: 'hostname', label: 'f.hostname.server', hint: '192.0.2.10' },
        { name: 'sshPort', input: 'integer', initial: 22 },
        { name: 'username', initial: 'root' },
        { name: 'password', input: 'password' },
        { name: 'url', label: 'f.installPath', initial: '/zstack_bs' },
        DESCRIPTION,
      ],
    },
  ],
  actions: [
    {
      key: 'attach',
      label: 'a.attachZone',
      api: 'AttachBackupStorageToZone',
      params: (item) => ({ backupStorageUuid: item.uuid }),
      fields: [{ name: 'zoneUuid', input: 'resource', refers: 'zones', only: (item) => [`uuid!?=${(item?.attachedZoneUuids ?? []).join(',')}`] }],
    },
    {
      key: 'detach',
      label: 'a.detachZone',
      api: 'DetachBackupStorageFromZone',
      when: (item) => (item.attachedZoneUuids?.length ?? 0) > 0,
      params: (item) => ({ backupStorageUuid: item.uuid }),
      fields: [{ name: 'zoneUuid', input: 'resource', refers: 'zones', only: (item) => [`uuid?=${(item?.attachedZoneUuids ?? []).join(',')}`] }],
    },
    { key: 'reconnect', label: 'a.reconnect', api: 'ReconnectBackupStorage', batch: true },
    ...states('ChangeBackupStorageState'),
    edit('UpdateBackupStorage'),
    {
      key: 'delete',
      label: 'a.delete',
      api: 'DeleteBackupStorage',
      removes: 'records',
    },
  ],
  related: [{ kind: 'images', conditions: (item) => [`backupStorage.uuid=${item.uuid}`] }],
});

export const settings = define({
  kind: 'settings',
  query: 'QueryGlobalConfig',
  one: 'r.setting',
  many: 'r.settings',
  key: ['category', 'name'],
  name: (item) => `${item.category} / ${item.name}`,
  sort: 'category',
  columns: [
    { field: 'category' },
    { field: 'name' },
    { field: 'value', shown: 'code' },
    { field: 'defaultValue', shown: 'code' },
    { field: 'description' },
  ],
  actions: [
    {
      key: 'set',
      label: 'a.set',
      api: 'UpdateGlobalConfig',
      params: (item) => ({ category: item.category, name: item.name }),
      fields: [{ name: 'value', required: true, initial: (item) => item?.value }],
    },
    {
      key: 'default',
      label: 'a.setDefault',
      api: 'UpdateGlobalConfig',
      batch: true,
      confirm: true,
      when: (item) => item.value !== item.defaultValue,
      params: (item) => ({ category: item.category, name: item.name, value: item.defaultValue }),
    },
  ],
});

export const audits = define({
  kind: 'audits',
  query: 'QueryAudit',
  one: 'r.audit',
  many: 'r.audits',
  key: ['id'],
  name: (item) => item.apiName ?? '',
  searched: 'apiName',
  sort: '-id',
  columns: [
    { field: 'apiName' },
    { field: 'success', shown: 'flag' },
    { field: 'operator' },
    { field: 'clientIp' },
    { field: 'resourceName' },
    { field: 'startTime', shown: 'moment' },
    { field: 'duration', shown: 'duration' },
  ],
  details: [
    { field: 'resourceType' },
    { field: 'resourceUuid', shown: 'code' },
    { field: 'requestUuid', shown: 'code' },
    { field: 'requestDump', shown: 'code' },
    { field: 'error', shown: 'code' },
    { field: 'clientBrowser' },
  ],
  actions: [],
});
