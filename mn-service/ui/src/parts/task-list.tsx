import { Button, Empty, Progress, Table, Tag } from 'antd';
import { CallError } from '../api/error';
import * as tasks from '../api/tasks';
import { useSpeech } from '../i18n/context';
import { ErrorView } from './error';
import { useTasks } from './use';

const COLOURS = { running: 'processing', succeeded: 'success', failed: 'error' } as const;

/** `StartVmInstance` as words. */
function words(api: string): string {
  return api.replace(/([a-z0-9])([A-Z])/g, '$1 $2');
}

/** What this browser started, with progress and outcome (F-095, F-567). */
export function TaskList() {
  const { t, language } = useSpeech();
  const list = useTasks();
  const time = new Intl.DateTimeFormat(language === 'zh' ? 'zh-CN' : 'en-GB', { timeStyle: 'medium', dateStyle: 'short' });
  if (list.length === 0) return <Empty image={Empty.PRESENTED_IMAGE_SIMPLE} description={t('task.none')} />;
  return (
    <>
      <Table<tasks.Task>
        size="small"
        className="tasks"
        rowKey="id"
        dataSource={list as tasks.Task[]}
        pagination={{ pageSize: 20, hideOnSinglePage: true }}
        expandable={{
          rowExpandable: (task) => task.error !== undefined,
          expandedRowRender: (task) => task.error && <ErrorView failure={new CallError('api', task.error, task.api, task.id)} />,
        }}
        columns={[
          { title: t('f.api'), render: (_, task) => words(task.api) },
          { title: t('f.subject'), dataIndex: 'subject' },
          { title: t('f.started'), render: (_, task) => time.format(task.started) },
          {
            title: t('f.duration'),
            render: (_, task) => (task.ended ? t('task.seconds', { seconds: ((task.ended - task.started) / 1000).toFixed(1) }) : ''),
          },
          {
            title: t('f.outcome'),
            render: (_, task) =>
              task.state === 'running' ? (
                <Progress percent={Math.round(task.percent ?? 0)} size="small" status="active" className="task-progress" />
              ) : (
                <Tag color={COLOURS[task.state]}>{t(`task.${task.state}`)}</Tag>
              ),
          },
        ]}
      />
      <Button onClick={() => tasks.clear()}>{t('task.clear')}</Button>
    </>
  );
}
