import { DownOutlined, DownloadOutlined, PlusOutlined, ReloadOutlined } from '@ant-design/icons';
import { App, Button, Dropdown, Empty, Input, Space, Table, type TableColumnsType, type TableProps } from 'antd';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { Link, useNavigate, useParams, useSearchParams } from 'react-router-dom';
import { query } from '../api/client';
import { asCallError } from '../api/error';
import { enums } from '../contract/generated';
import { useSpeech } from '../i18n/context';
import { useActions } from '../parts/actions';
import { save } from '../parts/csv';
import { ErrorView } from '../parts/error';
import { labelOf } from '../parts/fields';
import { conditionsOf, listOf, paramsOf, SIZES, type Listing } from '../parts/listing';
import { word } from '../parts/state';
import { REFRESH, useMay, useNames } from '../parts/use';
import { references, Value } from '../parts/value';
import { idOf, nameOf, type Action, type AnyResource, type Column, type Item } from '../resources/define';
import { Detail } from './detail';

/** The list of a resource: pages, order, filters and search are the service's work. */
export function ListPage({ resource }: { resource: AnyResource }) {
  const { t } = useSpeech();
  const may = useMay();
  const { notification } = App.useApp();
  const navigate = useNavigate();
  const { id } = useParams();
  const [search, setSearch] = useSearchParams();
  const [selected, setSelected] = useState<readonly Item[]>([]);
  const { start, dialogs } = useActions(resource);
  const listing = listOf(resource, search);
  const conditions = conditionsOf(resource, listing);
  const { data, error, isFetching, refetch } = useQuery({
    queryKey: ['list', resource.kind, conditions, listing.page, listing.size, listing.sort],
    queryFn: () =>
      query(resource.query, { conditions, start: (listing.page - 1) * listing.size, limit: listing.size, sort: listing.sort }),
    placeholderData: keepPreviousData,
    refetchInterval: REFRESH,
  });
  const items = (data?.items ?? []) as Item[];
  const show = (next: Partial<Listing>) => setSearch(paramsOf(resource, { ...listing, ...next }), { replace: true });

  const change: TableProps<Item>['onChange'] = (pages, filters, sorter) => {
    const order = Array.isArray(sorter) ? sorter[0] : sorter;
    const chosen = Object.fromEntries(
      Object.entries(filters).flatMap(([field, values]) => (values && values.length > 0 ? [[field, values.map(String)]] : [])),
    );
    const sort = order?.order && order.field ? `${order.order === 'descend' ? '-' : ''}${String(order.field)}` : undefined;
    show({ page: pages.current ?? 1, size: pages.pageSize ?? listing.size, filters: chosen, ...(sort ? { sort } : {}) });
  };

  const actions = resource.actions.filter((action) => may(action.api));
  const creates = (resource.create ?? []).filter((action) => may(action.api));
  const batch = actions.filter((action) => action.batch);
  // What is selected may have changed since.
  const current = selected.map((one) => items.find((item) => idOf(resource, item) === idOf(resource, one)) ?? one);

  const exportAll = () => {
    save(resource, conditions, listing.sort, t).catch((thrown: unknown) =>
      notification.error({ message: t('list.export'), description: <ErrorView failure={asCallError(thrown)} />, duration: 0 }),
    );
  };

  return (
    <div className="page" data-testid={`list-${resource.kind}`}>
      <div className="toolbar">
        <h2>{t(resource.many)}</h2>
        <Space wrap>
          <Input.Search
            key={listing.search}
            className="search"
            allowClear
            defaultValue={listing.search}
            placeholder={t('list.search')}
            onSearch={(text) => show({ search: text.trim(), page: 1 })}
          />
          {selected.length > 0 && batch.length > 0 && (
            <Dropdown
              menu={{
                items: batch.map((action) => {
                  const fit = current.filter((item) => action.when?.(item) ?? true);
                  return {
                    key: action.key,
                    label: `${t(action.label)} (${fit.length})`,
                    danger: action.removes !== undefined,
                    disabled: fit.length === 0,
                    onClick: () => {
                      start(action, fit);
                      setSelected([]);
                    },
                  };
                }),
              }}
            >
              <Button>
                {t('list.selected', { count: selected.length })} <DownOutlined />
              </Button>
            </Dropdown>
          )}
          <Button icon={<ReloadOutlined spin={isFetching} />} onClick={() => void refetch()} aria-label={t('list.refresh')} />
          <Button icon={<DownloadOutlined />} onClick={exportAll}>
            {t('list.export')}
          </Button>
          {creates.map((action, index) => (
            <Button
              key={action.key}
              type={index === creates.length - 1 ? 'primary' : 'default'}
              icon={<PlusOutlined />}
              onClick={() => start(action, [])}
              data-testid={`create-${action.key}`}
            >
              {t(action.label)}
            </Button>
          ))}
        </Space>
      </div>
      {error && <ErrorView failure={asCallError(error)} />}
      <Table<Item>
        size="middle"
        rowKey={(item) => idOf(resource, item)}
        dataSource={items}
        columns={columnsOf(resource, items, listing, t, actions, start)}
        onChange={change}
        scroll={{ x: 'max-content' }}
        loading={data === undefined && !error}
        rowSelection={
          batch.length > 0
            ? { selectedRowKeys: selected.map((item) => idOf(resource, item)), onChange: (_, rows) => setSelected(rows) }
            : undefined
        }
        pagination={{
          current: listing.page,
          pageSize: listing.size,
          total: data?.total ?? 0,
          showSizeChanger: true,
          pageSizeOptions: SIZES.map(String),
          showTotal: (total) => t('list.total', { total }),
        }}
        locale={{
          emptyText: (
            <Empty
              image={Empty.PRESENTED_IMAGE_SIMPLE}
              description={listing.search || Object.keys(listing.filters).length > 0 ? t('list.noMatch') : t('list.none')}
            />
          ),
        }}
      />
      {id !== undefined && (
        <Detail key={id} resource={resource} id={id} start={start} close={() => navigate({ pathname: `/${resource.kind}`, search: search.toString() })} />
      )}
      {dialogs}
    </div>
  );
}

function columnsOf(
  resource: AnyResource,
  items: readonly Item[],
  listing: Listing,
  t: ReturnType<typeof useSpeech>['t'],
  actions: readonly Action<Item>[],
  start: (action: Action<Item>, items: readonly Item[]) => void,
): TableColumnsType<Item> {
  const sorted = listing.sort.replace(/^-/, '');
  const columns: TableColumnsType<Item> = resource.columns.map((column, index) => ({
    key: column.field,
    dataIndex: column.field,
    title: t(labelOf({ name: column.field, label: column.label })),
    sorter: column.sortable !== false && !column.text,
    sortOrder: sorted === column.field ? (listing.sort.startsWith('-') ? 'descend' : 'ascend') : null,
    ...(column.values
      ? {
          filters: enums[column.values].map((value) => ({ value, text: word(t, value) })),
          filteredValue: listing.filters[column.field]?.slice() ?? null,
        }
      : {}),
    ellipsis: column.field === 'description',
    render: (_: unknown, item: Item) =>
      index === 0 || column.field === 'name' ? (
        <Link to={`/${resource.kind}/${idOf(resource, item)}`}>{nameOf({ ...resource, name: undefined }, { ...item, name: String(item[column.field] ?? '') })}</Link>
      ) : (
        <Cell column={column} item={item} items={items} />
      ),
  }));
  if (actions.length > 0) {
    columns.push({
      key: 'actions',
      title: t('list.actions'),
      fixed: 'right',
      width: 96,
      render: (_: unknown, item: Item) => <RowActions actions={actions} item={item} start={start} />,
    });
  }
  return columns;
}

/** One cell; all cells of a column share one question for names. */
function Cell({ column, item, items }: { column: Column<Item>; item: Item; items: readonly Item[] }) {
  const names = useNames(column.refers, column.refers ? items.flatMap((one) => references(column, one)) : []);
  return <Value column={column} item={item} names={names} />;
}

function RowActions({ actions, item, start }: { actions: readonly Action<Item>[]; item: Item; start: (action: Action<Item>, items: readonly Item[]) => void }) {
  const { t } = useSpeech();
  const possible = actions.filter((action) => action.when?.(item) ?? true);
  return (
    <Dropdown
      trigger={['click']}
      menu={{
        items: possible.map((action) => ({
          key: action.key,
          label: <span data-testid={`action-${action.key}`}>{t(action.label)}</span>,
          danger: action.removes !== undefined,
          onClick: () => start(action, [item]),
        })),
      }}
    >
      <Button size="small" disabled={possible.length === 0} data-testid={`actions-${item.name ?? ''}`}>
        {t('list.actions')} <DownOutlined />
      </Button>
    </Dropdown>
  );
}
