import { Alert, Card, Col, Empty, Row, Select, Skeleton, Statistic, Steps } from 'antd';
import { useQuery } from '@tanstack/react-query';
import { lazy, Suspense, useMemo, useState } from 'react';
import { Link } from 'react-router-dom';
import { call, count, query } from '../api/client';
import { asCallError } from '../api/error';
import { enums } from '../contract/generated';
import { useSpeech } from '../i18n/context';
import type { Key } from '../i18n/en';
import type { ChartOption } from '../parts/chart';
import { ErrorView } from '../parts/error';
import { bytes } from '../parts/format';
import { word } from '../parts/state';
import { StuckJobs } from '../parts/stuck-jobs';
import { REFRESH, useMay } from '../parts/use';
import { isOffered, resources } from '../resources';
import type { Kind } from '../resources/define';

const Chart = lazy(() => import('../parts/chart'));

/** How often the figures are counted again. */
const RECOUNT = 2 * REFRESH;

const COLOURS: Record<string, string> = { Running: '#52c41a', Stopped: '#8c8c8c', Paused: '#faad14', Unknown: '#ff4d4f', Crashed: '#cf1322', Destroyed: '#bfbfbf' };

/** The home page: what there is, how it is, how full it is (PLAT-DASH-002, -011, -013). */
export function Dashboard() {
  const { t } = useSpeech();
  const may = useMay();
  const [zone, setZone] = useState('');
  const zones = useQuery({ queryKey: ['choices', 'zones'], queryFn: () => query('QueryZone', { sort: 'name' }) });
  const cloud = may('GetPrimaryStorageCapacity');
  return (
    <div className="page" data-testid="dashboard">
      <div className="toolbar">
        <h2>{t('nav.dashboard')}</h2>
        <label>
          {t('dash.zone')}{' '}
          <Select
            value={zone}
            onChange={setZone}
            popupMatchSelectWidth={false}
            className="zone"
            options={[{ value: '', label: t('dash.allZones') }, ...(zones.data?.items ?? []).map((one) => ({ value: one.uuid ?? '', label: one.name }))]}
          />
        </label>
      </div>
      {zones.error && <ErrorView failure={asCallError(zones.error)} />}
      <StuckJobs />
      <GettingStarted />
      <Counts zone={zone} />
      <Row gutter={[16, 16]}>
        <Col xs={24} xl={10}>
          <VmStates zone={zone} />
        </Col>
        {cloud && (
          <Col xs={24} xl={14}>
            <Capacity zone={zone} />
          </Col>
        )}
        {cloud && (
          <Col xs={24}>
            <Busiest zone={zone} />
          </Col>
        )}
      </Row>
    </div>
  );
}

/** Kinds with figures of their own, and how each is narrowed down to a zone. */
const COUNTED: readonly { kind: Kind; zone?: string; good?: string }[] = [
  { kind: 'hosts', zone: 'zoneUuid', good: 'status=Connected' },
  { kind: 'vms', zone: 'zoneUuid' },
  { kind: 'volumes', zone: 'primaryStorage.zoneUuid' },
  { kind: 'images' },
  { kind: 'l3-networks', zone: 'zoneUuid' },
  { kind: 'primary-storage', zone: 'zoneUuid', good: 'status=Connected' },
];

function Counts({ zone }: { zone: string }) {
  const { t } = useSpeech();
  const may = useMay();
  const shown = COUNTED.filter((one) => isOffered(resources[one.kind], may));
  const { data } = useQuery({
    queryKey: ['counts', zone, ...shown.map((one) => one.kind)],
    refetchInterval: RECOUNT,
    queryFn: () =>
      Promise.all(
        shown.map(async ({ kind, zone: field, good }) => {
          const resource = resources[kind];
          const conditions = [...(resource.only ?? []), ...(zone && field ? [`${field}=${zone}`] : [])];
          const total = count(resource.query, conditions);
          return { kind, total: await total, good: good ? await count(resource.query, [...conditions, good]) : undefined };
        }),
      ),
  });
  return (
    <Row gutter={[16, 16]} className="counts">
      {shown.map(({ kind }, index) => {
        const found = data?.[index];
        return (
          <Col key={kind} xs={12} md={8} xl={4}>
            <Link to={`/${kind}`}>
              <Card size="small" hoverable>
                <Statistic
                  title={t(resources[kind].many)}
                  value={found?.total}
                  loading={!found}
                  suffix={found?.good !== undefined && <small>{t('dash.connected', { count: found.good })}</small>}
                />
              </Card>
            </Link>
          </Col>
        );
      })}
    </Row>
  );
}

function VmStates({ zone }: { zone: string }) {
  const { t } = useSpeech();
  const { data, error } = useQuery({
    queryKey: ['vm-states', zone],
    refetchInterval: RECOUNT,
    queryFn: async () => {
      const found = await Promise.all(
        enums.VmInstanceState.map(async (state) => ({
          state,
          value: await count('QueryVmInstance', ['type=UserVm', `state=${state}`, ...(zone ? [`zoneUuid=${zone}`] : [])]),
        })),
      );
      return found.filter((one) => one.value > 0);
    },
  });
  const option = useMemo<ChartOption>(
    () => ({
      tooltip: { trigger: 'item' },
      legend: { orient: 'vertical', right: 8, top: 'middle', icon: 'circle' },
      series: [
        {
          type: 'pie',
          radius: ['52%', '78%'],
          center: ['36%', '50%'],
          label: { show: true, position: 'center', formatter: String((data ?? []).reduce((sum, one) => sum + one.value, 0)), fontSize: 30, fontWeight: 600, color: '#1f1f1f' },
          emphasis: { label: { show: true } },
          data: (data ?? []).map((one) => ({ name: `${word(t, one.state)} ${one.value}`, value: one.value, itemStyle: { color: COLOURS[one.state] ?? '#1677ff' } })),
        },
      ],
    }),
    [data, t],
  );
  return (
    <Card title={t('dash.vms')} className="chart-card">
      {error && <ErrorView failure={asCallError(error)} />}
      {data === undefined && !error && <Skeleton active />}
      {data?.length === 0 && <Empty image={Empty.PRESENTED_IMAGE_SIMPLE} description={t('dash.none')} />}
      {data && data.length > 0 && (
        <Suspense fallback={<Skeleton active />}>
          <Chart option={option} height={260} label={t('dash.vms')} />
        </Suspense>
      )}
    </Card>
  );
}

interface Share {
  label: Key;
  used: number;
  total: number;
  text: (value: number) => string;
}

async function shares(zone: string): Promise<Share[]> {
  const scope = zone ? { zoneUuids: [zone] } : { all: true };
  const [hosts, primary, backup, addresses] = await Promise.all([
    call('GetCpuMemoryCapacity', scope),
    call('GetPrimaryStorageCapacity', scope),
    call('GetBackupStorageCapacity', scope),
    call('GetIpAddressCapacity', scope),
  ]);
  const share = (label: Key, total = 0, available = 0, text: (value: number) => string = bytes): Share => ({ label, total, used: Math.max(total - available, 0), text });
  return [
    share('dash.cpu', hosts.totalCpu, hosts.availableCpu, String),
    share('dash.memory', hosts.totalMemory, hosts.availableMemory),
    share('dash.primary', primary.totalCapacity, primary.availableCapacity),
    share('dash.backup', backup.totalCapacity, backup.availableCapacity),
    share('dash.addresses', addresses.totalCapacity, addresses.availableCapacity, String),
  ];
}

function Capacity({ zone }: { zone: string }) {
  const { t } = useSpeech();
  const { data, error } = useQuery({ queryKey: ['capacity', zone], queryFn: () => shares(zone), refetchInterval: RECOUNT });
  return (
    <Card title={t('dash.capacity')} className="chart-card">
      {error && <ErrorView failure={asCallError(error)} />}
      {data === undefined && !error && <Skeleton active />}
      <Suspense fallback={<Skeleton active />}>
        <div className="gauges">{data?.map((share) => <Gauge key={share.label} share={share} />)}</div>
      </Suspense>
    </Card>
  );
}

function Gauge({ share }: { share: Share }) {
  const { t } = useSpeech();
  const { used, total } = share;
  const percent = total > 0 ? Math.round((used / total) * 100) : 0;
  const option = useMemo<ChartOption>(() => {
    const colour = percent >= 90 ? '#ff4d4f' : percent >= 75 ? '#faad14' : '#1677ff';
    return {
      tooltip: { show: false },
      series: [
        {
          type: 'gauge',
          startAngle: 215,
          endAngle: -35,
          radius: '96%',
          progress: { show: true, width: 9, roundCap: true, itemStyle: { color: colour } },
          axisLine: { lineStyle: { width: 9, color: [[1, '#f0f0f0']] }, roundCap: true },
          pointer: { show: false },
          axisTick: { show: false },
          splitLine: { show: false },
          axisLabel: { show: false },
          detail: { formatter: '{value} %', offsetCenter: [0, 0], fontSize: 18, fontWeight: 600, color: '#1f1f1f' },
          data: [{ value: percent }],
        },
      ],
    };
  }, [percent]);
  const text = t('dash.used', { used: share.text(used), total: share.text(total) });
  return (
    <figure>
      <Chart option={option} height={120} label={`${t(share.label)}: ${percent} %`} />
      <figcaption>
        <strong>{t(share.label)}</strong>
        <span>{total > 0 ? text : t('dash.none')}</span>
      </figcaption>
    </figure>
  );
}

/** Hosts in the order of how little memory is left. */
function Busiest({ zone }: { zone: string }) {
  const { t } = useSpeech();
  const { data } = useQuery({
    queryKey: ['busiest', zone],
    refetchInterval: RECOUNT,
    queryFn: () => query('QueryHost', { conditions: zone ? [`zoneUuid=${zone}`] : [], sort: 'availableMemoryCapacity', limit: 5 }),
  });
  const items = useMemo(() => [...(data?.items ?? [])].reverse(), [data]);
  const option = useMemo<ChartOption>(() => {
    const used = items.map((host) => Math.max((host.totalMemoryCapacity ?? 0) - (host.availableMemoryCapacity ?? 0), 0));
    return {
      grid: { left: 8, right: 110, top: 0, bottom: 0, containLabel: true },
      tooltip: { show: false },
      xAxis: { type: 'value', max: 1, show: false },
      yAxis: { type: 'category', data: items.map((host) => host.name ?? ''), axisLine: { show: false }, axisTick: { show: false } },
      series: [
        {
          type: 'bar',
          barWidth: 12,
          showBackground: true,
          backgroundStyle: { borderRadius: 6, color: '#f0f0f0' },
          itemStyle: { borderRadius: 6, color: '#1677ff' },
          data: items.map((host, index) => (used[index] ?? 0) / (host.totalMemoryCapacity || 1)),
          label: { show: false },
        },
        {
          type: 'bar',
          barWidth: 12,
          barGap: '-100%',
          silent: true,
          itemStyle: { color: 'transparent' },
          data: items.map(() => 1),
          label: { show: true, position: 'right', formatter: ({ dataIndex }) => `${bytes(used[dataIndex] ?? 0)} / ${bytes(items[dataIndex]?.totalMemoryCapacity ?? 0)}` },
        },
      ],
    };
  }, [items]);
  if (items.length === 0) return null;
  return (
    <Card title={t('dash.busiest')} className="chart-card">
      <Suspense fallback={<Skeleton active />}>
        <Chart option={option} height={Math.max(items.length * 34, 60)} label={t('dash.busiest')} />
      </Suspense>
    </Card>
  );
}

const STEPS: readonly { label: Key; kind: Kind; conditions: readonly string[] }[] = [
  { label: 'start.zone', kind: 'zones', conditions: [] },
  { label: 'start.cluster', kind: 'clusters', conditions: [] },
  { label: 'start.host', kind: 'hosts', conditions: ['status=Connected'] },
  { label: 'start.primary', kind: 'primary-storage', conditions: ['status=Connected', 'attachedClusterUuids not null'] },
  { label: 'start.image', kind: 'images', conditions: ['status=Ready'] },
  { label: 'start.network', kind: 'l3-networks', conditions: ['ipRanges.uuid not null'] },
  { label: 'start.offering', kind: 'instance-offerings', conditions: ['type=UserVm'] },
];

/** What is missing for the first VM, and where it is made (F-562, F-563). */
function GettingStarted() {
  const { t } = useSpeech();
  const may = useMay();
  const admin = may('CreateZone');
  const { data, error } = useQuery({
    queryKey: ['start'],
    refetchInterval: RECOUNT,
    enabled: admin,
    queryFn: async () => {
      if ((await count('QueryVmInstance', [])) > 0) return [];
      return Promise.all(STEPS.map(async ({ kind, conditions }) => (await count(resources[kind].query, conditions)) > 0));
    },
  });
  if (error) return <Alert type="warning" message={asCallError(error).message} />;
  if (!data || data.length === 0) return null;
  const current = data.indexOf(false);
  return (
    <Card title={t('start.title')} className="start" extra={t('start.text')} data-testid="getting-started">
      <Steps
        size="small"
        labelPlacement="vertical"
        current={current < 0 ? STEPS.length : current}
        items={STEPS.map(({ label, kind }, index) => ({
          title: <Link to={`/${kind}`}>{t(label)}</Link>,
          status: data[index] ? 'finish' : index === current ? 'process' : 'wait',
        }))}
      />
      {current < 0 && <Link to="/vms">{t('start.vm')}</Link>}
    </Card>
  );
}
