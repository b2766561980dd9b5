import { Alert, Checkbox, Input, Modal, Spin, Table } from 'antd';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { call } from '../api/client';
import { asCallError } from '../api/error';
import type { Answers } from '../contract/generated';
import { useSpeech } from '../i18n/context';
import type { Key } from '../i18n/en';
import { known } from '../i18n/language';
import { nameOf, type Action, type AnyResource, type Item } from '../resources/define';
import { ErrorView } from './error';

type Effects = NonNullable<NonNullable<Answers['PreviewDeletion']['inventory']>['effects']>;

/** What else is concerned, by effect and type. */
interface Concerned {
  key: string;
  effect: string;
  type: string;
  names: string[];
}

/** How many names of each type are shown. */
const NAMED = 5;

/** Types in the words of the menu. What a person never handles by itself is not listed. */
const TYPES: Readonly<Record<string, Key>> = {
  VmInstanceVO: 'r.vms',
  VolumeVO: 'r.volumes',
  VolumeSnapshotVO: 'r.snapshots',
  ImageVO: 'r.images',
  ClusterVO: 'r.clusters',
  HostVO: 'r.hosts',
  PrimaryStorageVO: 'r.primaryStorages',
  BackupStorageVO: 'r.backupStorages',
  L2NetworkVO: 'r.l2s',
  L3NetworkVO: 'r.l3s',
  IpRangeVO: 'r.ipRanges',
  VmNicVO: 'r.nics',
  UsedIpVO: 'r.addresses',
  AffinityGroupVO: 'r.affinityGroups',
  AffinityGroupUsageVO: 'r.members',
  VmCdRomVO: 'r.cdRoms',
};

/** Groups effects; that the asked-for resource itself goes is no news. */
export function concerned(effects: Effects, asked: ReadonlySet<string | undefined>): Concerned[] {
  const found = new Map<string, Concerned>();
  // One resource may be concerned by several of the deletions, and in several ways.
  const seen = new Set<string>();
  for (const { effect = '', resourceType: type = '', resourceUuid, resourceName } of effects) {
    const key = `${effect} ${type}`;
    if (!(type in TYPES) || (asked.has(resourceUuid) && effect !== 'Stop') || seen.has(`${key} ${resourceUuid}`)) continue;
    seen.add(`${key} ${resourceUuid}`);
    const one = found.get(key) ?? { key, effect, type, names: [] };
    one.names.push(resourceName ?? String(resourceUuid));
    found.set(key, one);
  }
  const order = Object.keys(TYPES);
  return [...found.values()].sort((a, b) => order.indexOf(a.type) - order.indexOf(b.type));
}

interface Props {
  resource: AnyResource;
  action: Action<Item>;
  items: readonly Item[];
  run: () => void;
  close: () => void;
}

/** Says what a removal takes along and goes on only when that was confirmed (F-571, PLAT-DEL-030). */
export function RemoveDialog({ resource, action, items, run, close }: Props) {
  const { t } = useSpeech();
  const [understood, setUnderstood] = useState(false);
  const [typed, setTyped] = useState('');
  const { data, error } = useQuery({
    queryKey: ['preview', action.api, ...items.map((item) => item.uuid)],
    queryFn: async () => {
      const previews = await Promise.all(items.map((item) => call('PreviewDeletion', { api: action.api, uuid: String(item.uuid) })));
      return {
        concerned: concerned(previews.flatMap((one) => one.inventory?.effects ?? []), new Set(items.map((item) => item.uuid))),
        refusals: previews.flatMap((one) => one.inventory?.refusals ?? []),
      };
    },
    // What is confirmed must be what is there now.
    gcTime: 0,
    staleTime: 0,
  });
  const [only] = items;
  const name = only && items.length === 1 ? nameOf(resource, only) : '';
  const grave = (data?.concerned ?? []).length > 0;
  // Infrastructure takes whole VMs along: whoever means it can write its name.
  const spelled = grave && action.removes === 'records' && items.length === 1;
  const confirmed = data !== undefined && data.refusals.length === 0 && (!grave || (spelled ? typed === name : understood));
  const label = t(action.label);
  const title = items.length === 1 ? t('delete.title', { action: label, name }) : t('delete.many', { action: label, count: items.length });
  const how = { recycle: t('delete.recycle'), forever: t('delete.forever'), records: t('delete.records') }[action.removes ?? 'forever'];
  return (
    <Modal
      open
      title={title}
      className="remove-dialog"
      width={640}
      okText={label}
      okButtonProps={{ danger: true, disabled: !confirmed }}
      cancelText={t('dialog.cancel')}
      onCancel={close}
      onOk={() => {
        run();
        close();
      }}
    >
      <p>{how}</p>
      {error && <ErrorView failure={asCallError(error)} />}
      {data === undefined && !error && <Spin />}
      {data !== undefined && !grave && <p>{t('delete.nothing')}</p>}
      {data !== undefined && data.refusals.length > 0 && (
        <Alert type="warning" showIcon className="refusals" message={t('delete.refused')} description={<span className="pre">{data.refusals.join('\n')}</span>} />
      )}
      {grave && (
        <>
          <p>{t('delete.consequences')}</p>
          <Table
            size="small"
            pagination={false}
            rowKey="key"
            dataSource={data?.concerned}
            columns={[
              { width: 70, align: 'right', render: (_, one: Concerned) => one.names.length },
              { render: (_, one: Concerned) => t(TYPES[one.type] ?? 'r.vms') },
              { render: (_, one: Concerned) => t(known(`effect.${one.effect}`) ?? 'effect.Delete') },
              { render: (_, one: Concerned) => one.names.slice(0, NAMED).join(', ') + (one.names.length > NAMED ? ', …' : '') },
            ]}
            showHeader={false}
          />
          <div className="confirm">
            {spelled ? (
              <label>
                {t('delete.type', { name })}
                <Input value={typed} onChange={(event) => setTyped(event.target.value)} autoFocus data-testid="confirm-name" />
              </label>
            ) : (
              <Checkbox checked={understood} onChange={(event) => setUnderstood(event.target.checked)}>
                {t('delete.understood')}
              </Checkbox>
            )}
          </div>
        </>
      )}
    </Modal>
  );
}
