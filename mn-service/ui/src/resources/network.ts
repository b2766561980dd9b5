import { query } from '../api/client';
import { define, DESCRIPTION, edit, NAME, states } from './define';

export const l2Networks = define({
  kind: 'l2-networks',
  query: 'QueryL2Network',
  one: 'r.l2',
  many: 'r.l2s',
  columns: [
    { field: 'name' },
    { field: 'type' },
    { field: 'physicalInterface' },
    { field: 'virtualNetworkId', shown: 'number' },
    { field: 'attachedClusterUuids', refers: 'clusters', sortable: false },
    { field: 'zoneUuid', refers: 'zones' },
    { field: 'createDate', shown: 'date' },
  ],
  details: [{ field: 'lastOpDate', shown: 'date' }],
  create: [
    {
      key: 'noVlan',
      label: 'a.createNoVlan',
      api: 'CreateL2NoVlanNetwork',
      fields: [NAME, { name: 'zoneUuid', input: 'resource', refers: 'zones' }, { name: 'physicalInterface', hint: 'eth0' }, DESCRIPTION],
    },
    {
      key: 'vlan',
      label: 'a.createVlan',
      api: 'CreateL2VlanNetwork',
      fields: [
        NAME,
        { name: 'zoneUuid', input: 'resource', refers: 'zones' },
        { name: 'physicalInterface', hint: 'eth0' },
        { name: 'vlan', input: 'integer' },
        DESCRIPTION,
      ],
    },
  ],
  actions: [
    {
      key: 'attach',
      label: 'a.attachCluster',
      api: 'AttachL2NetworkToCluster',
      params: (item) => ({ l2NetworkUuid: item.uuid }),
      fields: [{ name: 'clusterUuid', input: 'resource', refers: 'clusters', only: (item) => [`zoneUuid=${item?.zoneUuid}`, `uuid!?=${(item?.attachedClusterUuids ?? []).join(',')}`] }],
    },
    {
      key: 'detach',
      label: 'a.detachCluster',
      api: 'DetachL2NetworkFromCluster',
      when: (item) => (item.attachedClusterUuids?.length ?? 0) > 0,
      params: (item) => ({ l2NetworkUuid: item.uuid }),
      fields: [{ name: 'clusterUuid', input: 'resource', refers: 'clusters', only: (item) => [`uuid?=${(item?.attachedClusterUuids ?? []).join(',')}`] }],
    },
    edit('UpdateL2Network'),
    {
      key: 'delete',
      label: 'a.delete',
      api: 'DeleteL2Network',
      removes: 'records',
    },
  ],
  related: [{ kind: 'l3-networks', conditions: (item) => [`l2NetworkUuid=${item.uuid}`] }],
});

/** Parameters that give a network addresses by DHCP and user data. */
async function flatServices(): Promise<Record<string, unknown>> {
  const { items } = await query('QueryNetworkServiceProvider', { conditions: ['type=Flat'] });
  const provider = items[0]?.uuid;
  if (!provider) throw new Error('this cloud has no network service provider of type Flat');
  return { networkServices: { [provider]: ['DHCP', 'Userdata'] } };
}

export const l3Networks = define({
  kind: 'l3-networks',
  query: 'QueryL3Network',
  one: 'r.l3',
  many: 'r.l3s',
  columns: [
    { field: 'name' },
    { field: 'state', shown: 'state', values: 'L3NetworkState' },
    { field: 'category', shown: 'word', values: 'L3NetworkCategory' },
    { field: 'ipRanges', label: 'r.ipRanges', sortable: false, text: (item) => (item.ipRanges ?? []).map((range) => range.networkCidr ?? `${range.startIp}–${range.endIp}`).join(', ') },
    { field: 'networkServices', sortable: false, text: (item) => [...new Set((item.networkServices ?? []).map((one) => one.networkServiceType))].join(', ') },
    { field: 'l2NetworkUuid', refers: 'l2-networks' },
    { field: 'createDate', shown: 'date' },
  ],
  details: [
    { field: 'dns', sortable: false, text: (item) => (item.dns ?? []).join(', ') },
    { field: 'dnsDomain' },
    { field: 'ipVersion', shown: 'number' },
    { field: 'type' },
    { field: 'zoneUuid', refers: 'zones' },
    { field: 'lastOpDate', shown: 'date' },
  ],
  create: [
    {
      key: 'create',
      label: 'a.create',
      api: 'CreateL3Network',
      fields: [
        NAME,
        { name: 'l2NetworkUuid', input: 'resource', refers: 'l2-networks' },
        { name: 'category', input: 'choice', values: ['Private', 'Public', 'System'], initial: 'Private', required: true },
        DESCRIPTION,
      ],
    },
  ],
  actions: [
    {
      key: 'range',
      label: 'a.addRange',
      api: 'AddIpRange',
      params: (item) => ({ l3NetworkUuid: item.uuid }),
      fields: [
        NAME,
        { name: 'startIp', input: 'address' },
        { name: 'endIp', input: 'address' },
        { name: 'netmask', input: 'address', initial: '255.255.255.0' },
        { name: 'gateway', input: 'address', required: true },
      ],
    },
    {
      key: 'cidr',
      label: 'a.addCidr',
      api: 'AddIpRangeByNetworkCidr',
      params: (item) => ({ l3NetworkUuid: item.uuid }),
      fields: [NAME, { name: 'networkCidr', hint: '192.0.2.0/24' }, { name: 'gateway', input: 'address' }],
    },
    {
      key: 'removeRange',
      label: 'a.deleteRange',
      api: 'DeleteIpRange',
      when: (item) => (item.ipRanges?.length ?? 0) > 0,
      params: () => ({}),
      fields: [
        {
          name: 'uuid',
          label: 'r.ipRange',
          input: 'choice',
          values: (item) => (item?.ipRanges ?? []).map((range) => ({ value: String(range.uuid), label: `${range.name}: ${range.startIp}–${range.endIp}` })),
        },
      ],
      confirm: true,
    },
    {
      key: 'services',
      label: 'a.services',
      api: 'AttachNetworkServiceToL3Network',
      when: (item) => (item.networkServices ?? []).length === 0,
      params: (item) => ({ l3NetworkUuid: item.uuid }),
      prepare: async (values) => ({ ...values, ...(await flatServices()) }),
    },
    {
      key: 'addDns',
      label: 'a.addDns',
      api: 'AddDnsToL3Network',
      params: (item) => ({ l3NetworkUuid: item.uuid }),
      fields: [{ name: 'dns', input: 'address' }],
    },
    {
      key: 'removeDns',
      label: 'a.removeDns',
      api: 'RemoveDnsFromL3Network',
      when: (item) => (item.dns?.length ?? 0) > 0,
      params: (item) => ({ l3NetworkUuid: item.uuid }),
      fields: [{ name: 'dns', input: 'choice', values: (item) => (item?.dns ?? []).map((value) => ({ value, label: value })) }],
    },
    ...states('ChangeL3NetworkState'),
    edit('UpdateL3Network'),
    {
      key: 'delete',
      label: 'a.delete',
      api: 'DeleteL3Network',
      removes: 'records',
    },
  ],
  related: [{ kind: 'vms', conditions: (item) => [`vmNics.l3NetworkUuid=${item.uuid}`] }],
});
