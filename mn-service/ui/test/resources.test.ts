import { describe, expect, it } from 'vitest';
import { facts } from '../src/api/client';
import { en } from '../src/i18n/en';
import { known, translator } from '../src/i18n/language';
import { zh } from '../src/i18n/zh';
import { labelOf, paramsOf, rulesOf } from '../src/parts/fields';
import { conditionsOf, listOf, paramsOf as addressOf } from '../src/parts/listing';
import { given } from '../src/parts/run';
import { concerned } from '../src/parts/remove-dialog';
import { resources } from '../src/resources';
import type { Action, Item } from '../src/resources/define';

const all = Object.values(resources);
const sample: Item = { uuid: 'u', name: 'n', category: 'c', state: 'Enabled', vmNics: [], ipRanges: [] };
const actions = all.flatMap(({ kind, create = [], actions }) => [
  ...create.map((action) => ({ kind, action, item: undefined })),
  ...actions.map((action) => ({ kind, action, item: sample })),
]);

describe('definitions', () => {
  it.each(actions)('$kind $action.key gives the call what it needs', ({ action, item }) => {
    const params = facts(action.api).params;
    const needed = Object.keys(params).filter((name) => params[name]?.required);
    const asked = [...Object.keys(given(action, item)), ...(action.fields ?? []).map((field) => field.name)];
    // What a page of its own or a last step adds.
    const added = action.special === 'upload' ? needed : action.key === 'services' ? ['networkServices'] : [];
    expect([...asked, ...added]).toEqual(expect.arrayContaining(needed));
    if (!action.prepare) expect(Object.keys(params)).toEqual(expect.arrayContaining(asked));
  });

  it('have a label for every field and column', () => {
    const fields = actions.flatMap(({ action }) => action.fields ?? []);
    const columns = all.flatMap((resource) => [...resource.columns, ...(resource.details ?? [])]).map((column) => ({ name: column.field, label: column.label }));
    const missing = [...fields, ...columns].filter((one) => !one.label && !known(`f.${one.name}`)).map((one) => one.name);
    expect(missing).toEqual([]);
    expect(labelOf({ name: 'cpuNum' })).toBe('f.cpuNum');
  });

  it('confirm whatever removes something', () => {
    for (const { action } of actions) {
      if (/^(Delete|Destroy|Expunge)/.test(action.api)) expect(action.removes ?? action.confirm, action.api).toBeTruthy();
    }
  });
});

describe('removals', () => {
  it('tell each resource once, the important ones first, and not what was asked for', () => {
    const effects = [
      { effect: 'Stop', resourceType: 'VmInstanceVO', resourceUuid: 'v', resourceName: 'vm' },
      { effect: 'Delete', resourceType: 'UsedIpVO', resourceUuid: 'i', resourceName: '10.0.0.1' },
      { effect: 'Delete', resourceType: 'VolumeSnapshotTreeVO', resourceUuid: 't' },
      { effect: 'Delete', resourceType: 'VolumeVO', resourceUuid: 'a', resourceName: 'root' },
      { effect: 'Delete', resourceType: 'VolumeVO', resourceUuid: 'a', resourceName: 'root' },
      { effect: 'Delete', resourceType: 'HostVO', resourceUuid: 'h', resourceName: 'host' },
    ];
    expect(concerned(effects, new Set(['h'])).map((one) => [one.effect, one.type, one.names])).toEqual([
      ['Stop', 'VmInstanceVO', ['vm']],
      ['Delete', 'VolumeVO', ['root']],
      ['Delete', 'UsedIpVO', ['10.0.0.1']],
    ]);
    // A VM that runs is stopped before it goes: that is news.
    expect(concerned(effects, new Set(['v']))[0]).toMatchObject({ effect: 'Stop', names: ['vm'] });
  });
});

describe('texts', () => {
  it('exist in both languages with the same places', () => {
    const places = (text: string) => [...text.matchAll(/\{\w+\}/g)].map((found) => found[0]).sort();
    for (const [key, text] of Object.entries(en)) {
      const other = zh[key as keyof typeof zh];
      expect(other, key).toBeTruthy();
      expect(places(other), key).toEqual(places(text));
    }
  });

  it('take values', () => {
    expect(translator('en')('list.total', { total: 3 })).toBe('3 in total');
    expect(translator('zh')('list.total', { total: 3 })).toBe('共 3 条');
  });
});

describe('forms', () => {
  const t = translator('en');
  const create = resources.vms.create?.[0] as Action<Item>;

  it('know the limits of the contract', () => {
    const name = { name: 'name' };
    expect(rulesOf(t, name, facts('CreateZone').params.name)).toEqual(
      expect.arrayContaining([expect.objectContaining({ required: true }), expect.objectContaining({ max: 255 }), expect.objectContaining({ pattern: expect.any(RegExp) as RegExp })]),
    );
  });

  it('send sizes as bytes and leave out what is empty', () => {
    const params = paramsOf(create.fields ?? [], { name: 'vm', rootDiskSize: '10 GiB', clusterUuid: undefined, description: '' }, undefined);
    expect(params).toEqual({ name: 'vm', rootDiskSize: 10 * 2 ** 30 });
  });

  it('send a description that was emptied', () => {
    const edit = resources.zones.actions.find((action) => action.key === 'edit') as Action<Item>;
    const item = { uuid: 'u', name: 'zone', description: 'old' };
    expect(paramsOf(edit.fields ?? [], { name: 'zone', description: '' }, item)).toEqual({ name: 'zone', description: '' });
  });

  it('put the host name of a VM into a tag', async () => {
    const params = await create.prepare?.({ name: 'vm', hostname: 'h', affinityGroup: 'g' }, undefined);
    expect(params).toEqual({ name: 'vm', systemTags: ['hostname::h', 'affinityGroupUuid::g'] });
  });
});

describe('lists', () => {
  it('live in the address', () => {
    const listing = { page: 3, size: 50, sort: 'name', search: 'web', filters: { state: ['Running', 'Stopped'] } };
    const address = addressOf(resources.vms, listing);
    expect(listOf(resources.vms, address)).toEqual(listing);
    expect(addressOf(resources.vms, listOf(resources.vms, new URLSearchParams())).toString()).toBe('');
    expect(conditionsOf(resources.vms, listing)).toEqual(['type=UserVm', 'name~=%web%', 'state?=Running,Stopped']);
  });

  it('do not believe an address', () => {
    const listing = listOf(resources.vms, new URLSearchParams('page=-4&size=7&is.cpuNum=3'));
    expect(listing).toMatchObject({ page: 1, size: 20, filters: {} });
  });

  it('search a uuid as one', () => {
    const search = '9b26312501614ec0b6dc731e6977dfb2';
    expect(conditionsOf(resources.zones, listOf(resources.zones, new URLSearchParams({ q: search })))).toEqual([`uuid=${search}`]);
  });
});
