import {
  CloudServerOutlined,
  ClusterOutlined,
  DashboardOutlined,
  DatabaseOutlined,
  DeploymentUnitOutlined,
  SettingOutlined,
  UnorderedListOutlined,
  UserOutlined,
} from '@ant-design/icons';
import { Alert, Badge, Button, Drawer, Dropdown, Layout, Menu, Space } from 'antd';
import { useQuery } from '@tanstack/react-query';
import { useEffect, useState, type ReactNode } from 'react';
import { Link, Outlet, useLocation } from 'react-router-dom';
import { call } from '../api/client';
import { logOut } from '../api/login';
import { useSpeech } from '../i18n/context';
import type { Key } from '../i18n/en';
import { groups, isOffered } from '../resources';
import { LanguageSwitch } from './language-switch';
import { PasswordDialog } from './password-dialog';
import { TaskList } from './task-list';
import { useClockSkew, useMay, useSession, useTasks } from './use';

const ICONS: Partial<Record<Key, ReactNode>> = {
  'nav.compute': <CloudServerOutlined />,
  'nav.storage': <DatabaseOutlined />,
  'nav.network': <DeploymentUnitOutlined />,
  'nav.infrastructure': <ClusterOutlined />,
  'nav.system': <SettingOutlined />,
};

/** Narrower windows get a hint (F-572, PLAT-DASH-020). */
const NARROW = 1280;

/** Menu, header and hints around every page. */
export function Shell() {
  const { t } = useSpeech();
  const may = useMay();
  const session = useSession();
  const open = useTasks().filter((task) => task.state === 'running').length;
  const [tasksShown, showTasks] = useState(false);
  const [password, setPassword] = useState(false);
  const here = useLocation().pathname.split('/')[1] || 'dashboard';
  const { data: version } = useQuery({ queryKey: ['version'], queryFn: () => call('GetVersion', {}), enabled: may('GetVersion'), staleTime: Infinity });
  const menu = [
    { key: 'dashboard', icon: <DashboardOutlined />, label: <Link to="/">{t('nav.dashboard')}</Link> },
    ...groups
      .map((group) => ({ ...group, resources: group.resources.filter((resource) => isOffered(resource, may)) }))
      .filter((group) => group.resources.length > 0)
      .map((group) => ({
        key: group.label,
        icon: ICONS[group.label],
        label: t(group.label),
        children: group.resources.map((resource) => ({ key: resource.kind, label: <Link to={`/${resource.kind}`}>{t(resource.many)}</Link> })),
      })),
    { key: 'tasks', icon: <UnorderedListOutlined />, label: <Link to="/tasks">{t('nav.tasks')}</Link> },
  ];
  const forced = session?.defaultPassword === true;
  return (
    <Layout className="shell">
      <Layout.Sider width={220} collapsible breakpoint="lg" theme="light" className="sider">
        <div className="brand">
          <img src="/logo.svg" alt="" width={28} height={28} />
          <span>{t('product')}</span>
        </div>
        <Menu mode="inline" selectedKeys={[here]} defaultOpenKeys={groups.map((group) => group.label)} items={menu} />
      </Layout.Sider>
      <Layout>
        <Layout.Header className="header">
          <Space className="version" size="middle">
            {version?.version && t('shell.version', { version: version.version })}
            <a href="/licences.txt" target="_blank" rel="noreferrer">
              {t('shell.licences')}
            </a>
          </Space>
          <Space size="middle">
            <LanguageSwitch />
            <Badge count={open} size="small">
              <Button type="text" icon={<UnorderedListOutlined />} onClick={() => showTasks(true)} data-testid="tasks">
                {t('nav.tasks')}
              </Button>
            </Badge>
            <Dropdown
              trigger={['click']}
              menu={{
                items: [
                  { key: 'password', label: t('shell.password'), onClick: () => setPassword(true) },
                  { key: 'logout', label: <span data-testid="logout">{t('shell.logout')}</span>, onClick: () => void logOut() },
                ],
              }}
            >
              <Button type="text" icon={<UserOutlined />} data-testid="account">
                {session?.accountName}
              </Button>
            </Dropdown>
          </Space>
        </Layout.Header>
        <Layout.Content className="content">
          <Hints />
          {/* Before the change the service answers other machines nothing else. */}
          {!forced && <Outlet />}
        </Layout.Content>
      </Layout>
      <Drawer open={tasksShown} onClose={() => showTasks(false)} width={820} title={t('task.title')}>
        <TaskList />
      </Drawer>
      {(forced || password) && <PasswordDialog forced={forced} close={() => setPassword(false)} />}
    </Layout>
  );
}

/** Hints about this browser: its clock (F-573) and its size (F-572). */
function Hints() {
  const { t } = useSpeech();
  const skew = useClockSkew();
  const [width, setWidth] = useState(window.innerWidth);
  useEffect(() => {
    const measure = () => setWidth(window.innerWidth);
    window.addEventListener('resize', measure);
    return () => window.removeEventListener('resize', measure);
  }, []);
  return (
    <>
      {skew !== 0 && <Alert banner closable type="warning" message={t('shell.clock', { seconds: Math.abs(skew) })} data-testid="clock-hint" />}
      {width < NARROW && <Alert banner closable type="info" message={t('shell.narrow', { width })} data-testid="narrow-hint" />}
    </>
  );
}
