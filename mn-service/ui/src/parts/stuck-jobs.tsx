import { Alert, App, Button, Popconfirm } from 'antd';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { call } from '../api/client';
import { asCallError } from '../api/error';
import { useSpeech } from '../i18n/context';
import { ErrorView } from './error';
import { REFRESH, useMay } from './use';

/** Jobs whose undo failed: what happened, and a way to say that somebody has looked. Nothing while there are none. */
export function StuckJobs() {
  const { t } = useSpeech();
  const { notification } = App.useApp();
  const client = useQueryClient();
  const may = useMay();
  const { data, error } = useQuery({
    queryKey: ['stuck-jobs'],
    refetchInterval: 2 * REFRESH,
    enabled: may('GetStuckJobs'),
    queryFn: async () => (await call('GetStuckJobs', {})).inventories ?? [],
  });
  if (error) return <Alert type="warning" message={asCallError(error).message} />;
  if (!data || data.length === 0) return null;

  const dismiss = (uuid: string) =>
    call('DismissStuckJob', { uuid }, { subject: uuid })
      .catch((thrown: unknown) => {
        notification.error({ message: t('stuck.dismiss'), description: <ErrorView failure={asCallError(thrown)} />, duration: 0 });
      })
      .finally(() => void client.invalidateQueries());

  return (
    <div className="stuck" data-testid="stuck-jobs">
      <Alert type="error" showIcon message={t('stuck.title', { count: data.length })} description={t('stuck.text')} />
      {data.map((job) => (
        <Alert
          key={job.uuid}
          type="warning"
          message={`${job.apiName ?? ''} · ${job.createDate ?? ''} · ${job.uuid ?? ''}`}
          description={job.details}
          action={
            <Popconfirm title={t('stuck.sure')} onConfirm={() => dismiss(job.uuid ?? '')} okText={t('stuck.dismiss')} cancelText={t('dialog.cancel')}>
              <Button size="small" danger>
                {t('stuck.dismiss')}
              </Button>
            </Popconfirm>
          }
        />
      ))}
    </div>
  );
}
