import { Alert, App, Button, Form, Modal, Popconfirm, Table, Typography } from 'antd';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { call } from '../api/client';
import { asCallError, type CallError } from '../api/error';
import type { Answers } from '../contract/generated';
import { useSpeech } from '../i18n/context';
import { ErrorView } from '../parts/error';
import { FormField } from '../parts/fields';
import { remaining } from '../parts/format';
import { StateLamp } from '../parts/state';
import { REFRESH, useNames } from '../parts/use';
import type { Action, Item } from '../resources/define';

type Code = NonNullable<Answers['CreateHostEnrolmentCode']['inventory']>;

interface Typed {
  clusterUuid: string;
  lifetimeSeconds: string;
  uses: number;
}

/** One-time codes by which nodes join: makes one, shows it once with what to do with it, and withdraws those that are open. */
export function EnrolmentDialog({ action, close }: { action: Action<Item>; close: () => void }) {
  const { t } = useSpeech();
  const client = useQueryClient();
  const [form] = Form.useForm<Typed>();
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<CallError | null>(null);
  const [made, setMade] = useState<Code | null>(null);

  const submit = async ({ clusterUuid, lifetimeSeconds, uses }: Typed) => {
    setBusy(true);
    setFailure(null);
    try {
      const answer = await call('CreateHostEnrolmentCode', { clusterUuid, lifetimeSeconds: Number(lifetimeSeconds), uses });
      setMade(answer.inventory ?? null);
    } catch (thrown) {
      setFailure(asCallError(thrown));
    } finally {
      setBusy(false);
      void client.invalidateQueries({ queryKey: ['enrolment-codes'] });
    }
  };

  return (
    <Modal open title={t('a.addByCode')} onCancel={close} maskClosable={false} width={760} className="enrolment-dialog" footer={<Button onClick={close}>{t('dialog.close')}</Button>}>
      {failure && <ErrorView failure={failure} title={t('dialog.failed', { action: t('enrol.make') })} />}
      {made ? (
        <Shown code={made} />
      ) : (
        <Form form={form} layout="vertical" disabled={busy} onFinish={(typed) => void submit(typed)} requiredMark>
          <Alert type="info" message={t('enrol.intro')} />
          {(action.fields ?? []).map((field) => (
            <FormField key={field.name} api="CreateHostEnrolmentCode" field={field} item={undefined} />
          ))}
          <Button type="primary" htmlType="submit" loading={busy} data-testid="make-code">
            {t('enrol.make')}
          </Button>
        </Form>
      )}
      <Codes />
    </Modal>
  );
}

/** The code, which nobody can ask for again, and the two ways to use it. */
function Shown({ code }: { code: Code }) {
  const { t } = useSpeech();
  // By this address the browser reached the management node; nodes reach it by the same one, mostly.
  const address = window.location.hostname;
  return (
    <div className="made" data-testid="made-code">
      <Alert type="success" showIcon message={t('enrol.once')} />
      <Typography.Paragraph copyable={{ text: code.code }} className="code">
        <code data-testid="code">{code.code}</code>
      </Typography.Paragraph>
      <Typography.Paragraph>{t('enrol.screen', { address })}</Typography.Paragraph>
      <Typography.Paragraph>{t('enrol.shell')}</Typography.Paragraph>
      <Typography.Paragraph copyable={{ text: `node-manager join --address ${address}` }}>
        <code data-testid="command">node-manager join --address {address}</code>
      </Typography.Paragraph>
    </div>
  );
}

/** Codes that there are, with what is left of them. */
function Codes() {
  const { t } = useSpeech();
  const { notification } = App.useApp();
  const client = useQueryClient();
  const { data, error } = useQuery({
    queryKey: ['enrolment-codes'],
    refetchInterval: REFRESH,
    queryFn: async () => (await call('GetHostEnrolmentCodes', {})).inventories ?? [],
  });
  const codes = data ?? [];
  const names = useNames('clusters', codes.map((code) => code.clusterUuid ?? ''));
  if (error) return <ErrorView failure={asCallError(error)} />;
  if (codes.length === 0) return null;

  const withdraw = (uuid: string, name: string) =>
    call('DeleteHostEnrolmentCode', { uuid }, { subject: name })
      .catch((thrown: unknown) => {
        notification.error({ message: t('enrol.withdraw'), description: <ErrorView failure={asCallError(thrown)} />, duration: 0 });
      })
      .finally(() => void client.invalidateQueries({ queryKey: ['enrolment-codes'] }));

  return (
    <Table<Code>
      size="small"
      rowKey={(code) => code.uuid ?? ''}
      dataSource={codes}
      pagination={codes.length > 10 ? { pageSize: 10 } : false}
      data-testid="enrolment-codes"
      columns={[
        { title: t('enrol.code'), render: (_, code) => <code>{code.identifier}-…</code> },
        { title: t('f.state'), render: (_, code) => <StateLamp value={code.state} /> },
        { title: t('f.clusterUuid'), render: (_, code) => names[code.clusterUuid ?? ''] ?? code.clusterUuid },
        { title: t('enrol.used'), render: (_, code) => `${code.used ?? 0} / ${code.uses ?? 0}` },
        { title: t('enrol.remaining'), render: (_, code) => remaining(code.remainingSeconds ?? 0) },
        {
          title: t('list.actions'),
          render: (_, code) => (
            <Popconfirm
              title={t('enrol.sure')}
              okText={t('enrol.withdraw')}
              cancelText={t('dialog.cancel')}
              okButtonProps={{ 'data-testid': 'withdraw-sure' } as Record<`data-${string}`, string>}
              onConfirm={() => withdraw(code.uuid ?? '', code.identifier ?? '')}
            >
              <Button size="small" danger data-testid={`withdraw-${code.identifier}`}>
                {t('enrol.withdraw')}
              </Button>
            </Popconfirm>
          ),
        },
      ]}
    />
  );
}
