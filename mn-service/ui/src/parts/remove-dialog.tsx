import { Alert, Checkbox, Input, Modal, Spin, Table } from 'antd';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { query } from '../api/client';
import { useSpeech } from '../i18n/context';
import { resources } from '../resources';
import { nameOf, type Action, type AnyResource, type Consequence, type Item } from '../resources/define';

/** What else goes, by kind and effect. */
interface Concerned {
  key: string;
  consequence: Consequence<Item>;
  total: number;
  names: string[];
}

/** How many names of each kind are shown. */
const NAMED = 5;

async function concerned(consequences: readonly Consequence<Item>[], items: readonly Item[]): Promise<Concerned[]> {
  const found = await Promise.all(
    consequences.map(async (consequence) => {
      const resource = resources[consequence.kind];
      const pages = await Promise.all(
        items.map((item) => query(resource.query, { conditions: consequence.conditions(item), limit: NAMED, fields: ['uuid', 'name'] })),
      );
      const names = pages.flatMap((page) => (page.items as Item[]).map((one) => nameOf(resource, one)));
      const total = pages.reduce((sum, page) => sum + page.total, 0);
      return { key: `${consequence.kind} ${consequence.effect}`, consequence, total, names: names.slice(0, NAMED) };
    }),
  );
  return found.filter((one) => one.total > 0);
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
  const removes = action.removes ?? { how: 'forever' };
  const { data, error } = useQuery({
    queryKey: ['consequences', resource.kind, action.key, ...items.map((item) => item.uuid)],
    queryFn: () => concerned(removes.consequences ?? [], items),
    // What is confirmed must be what is there now.
    gcTime: 0,
    staleTime: 0,
  });
  const [only] = items;
  const name = only && items.length === 1 ? nameOf(resource, only) : '';
  const grave = (data ?? []).length > 0;
  // Infrastructure takes whole VMs along: whoever means it can write its name.
  const spelled = grave && removes.how === 'records' && items.length === 1;
  const confirmed = data !== undefined && (!grave || (spelled ? typed === name : understood));
  const label = t(action.label);
  const title = items.length === 1 ? t('delete.title', { action: label, name }) : t('delete.many', { action: label, count: items.length });
  const how = { recycle: t('delete.recycle'), forever: t('delete.forever'), records: t('delete.records') }[removes.how];
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
      {error && <Alert type="error" message={String(error)} />}
      {data === undefined && !error && <Spin />}
      {data !== undefined && !grave && <p>{t('delete.nothing')}</p>}
      {grave && (
        <>
          <p>{t('delete.consequences')}</p>
          <Table
            size="small"
            pagination={false}
            rowKey="key"
            dataSource={data}
            columns={[
              { dataIndex: 'total', width: 70, align: 'right' },
              { render: (_, one: Concerned) => t(resources[one.consequence.kind].many) },
              { render: (_, one: Concerned) => t(`effect.${one.consequence.effect}`) },
              { render: (_, one: Concerned) => one.names.join(', ') + (one.total > one.names.length ? ', …' : '') },
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
