import { Button, Descriptions, Drawer, Empty, Skeleton, Space, Table, Typography } from 'antd';
import { useQuery } from '@tanstack/react-query';
import { Link } from 'react-router-dom';
import { query } from '../api/client';
import { asCallError } from '../api/error';
import { useSpeech } from '../i18n/context';
import { ErrorView } from '../parts/error';
import { labelOf } from '../parts/fields';
import { StateLamp } from '../parts/state';
import { REFRESH, useMay } from '../parts/use';
import { NamedValue } from '../parts/value';
import { resources } from '../resources';
import { conditionsOfId, idOf, nameOf, type Action, type AnyResource, type Item } from '../resources/define';

/** Related resources shown in a detail; the rest is behind their own list. */
const SHOWN = 10;

interface Props {
  resource: AnyResource;
  id: string;
  start: (action: Action<Item>, items: readonly Item[]) => void;
  close: () => void;
}

/** Everything about one resource, slid over its list (PLAT-DASH-032). */
export function Detail({ resource, id, start, close }: Props) {
  const { t } = useSpeech();
  const may = useMay();
  const conditions = conditionsOfId(resource, id);
  const { data, error } = useQuery({
    queryKey: ['detail', resource.kind, id],
    queryFn: () => query(resource.query, { conditions }),
    refetchInterval: REFRESH,
  });
  const item = data?.items[0] as Item | undefined;
  const actions = item ? resource.actions.filter((action) => may(action.api) && (action.when?.(item) ?? true)) : [];
  return (
    <Drawer open onClose={close} width={760} title={item ? nameOf(resource, item) : t(resource.one)} className="detail">
      {error && <ErrorView failure={asCallError(error)} />}
      {!data && !error && <Skeleton active />}
      {data && !item && <Empty description={t('detail.gone')} />}
      {item && (
        <>
          <Space wrap className="detail-actions">
            {actions.map((action) => (
              <Button key={action.key} size="small" danger={action.removes !== undefined} onClick={() => start(action, [item])} data-testid={`do-${action.key}`}>
                {t(action.label)}
              </Button>
            ))}
          </Space>
          <Descriptions title={t('detail.facts')} bordered size="small" column={1}>
            {item.uuid && (
              <Descriptions.Item label={t('f.uuid')}>
                <Typography.Text copyable={{ tooltips: [t('detail.copy'), ''] }}>{item.uuid}</Typography.Text>
              </Descriptions.Item>
            )}
            {[...resource.columns, ...(resource.details ?? [])].map((column) => (
              <Descriptions.Item key={column.field} label={t(labelOf({ name: column.field, label: column.label }))}>
                <NamedValue column={column} item={item} />
              </Descriptions.Item>
            ))}
            {typeof item.description === 'string' && item.description !== '' && !resource.columns.some((column) => column.field === 'description') && (
              <Descriptions.Item label={t('f.description')}>{item.description}</Descriptions.Item>
            )}
          </Descriptions>
          {(resource.related ?? []).map((related) => (
            <Related key={related.kind} resource={resources[related.kind]} conditions={related.conditions(item)} />
          ))}
        </>
      )}
    </Drawer>
  );
}

function Related({ resource, conditions }: { resource: AnyResource; conditions: readonly string[] }) {
  const { t } = useSpeech();
  const { data } = useQuery({
    queryKey: ['related', resource.kind, ...conditions],
    queryFn: () => query(resource.query, { conditions, limit: SHOWN, sort: '-createDate' }),
    refetchInterval: REFRESH,
  });
  if (!data || data.total === 0) return null;
  return (
    <Table<Item>
      className="related"
      size="small"
      title={() => `${t(resource.many)} (${data.total})`}
      pagination={false}
      showHeader={false}
      rowKey={(item) => idOf(resource, item)}
      dataSource={data.items as Item[]}
      columns={[
        { key: 'name', render: (_, item) => <Link to={`/${resource.kind}/${idOf(resource, item)}`}>{nameOf(resource, item)}</Link> },
        { key: 'state', render: (_, item) => <StateLamp value={item.state ?? item.status} /> },
      ]}
    />
  );
}
