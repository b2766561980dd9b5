import { Alert, App, Button, Form, Modal, Progress } from 'antd';
import { useQueryClient } from '@tanstack/react-query';
import { useEffect, useRef, useState } from 'react';
import { asCallError, type CallError } from '../api/error';
import { useSpeech } from '../i18n/context';
import type { Action, AnyResource, Item } from '../resources/define';
import { nameOf } from '../resources/define';
import { ErrorView } from './error';
import { FormField, paramsOf } from './fields';
import { Fits } from './fits';
import { perform } from './run';
import { useTasks } from './use';

interface Props {
  resource: AnyResource;
  action: Action<Item>;
  item: Item | undefined;
  close: () => void;
}

/** Asks for the parameters of an action, follows it, and keeps what was typed when it fails. */
export function FormDialog({ resource, action, item, close }: Props) {
  const { t } = useSpeech();
  const { message, notification } = App.useApp();
  const client = useQueryClient();
  const [form] = Form.useForm<Record<string, unknown>>();
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<CallError | null>(null);
  const hidden = useRef(false);
  const fields = action.fields ?? [];

  useEffect(() => () => void (hidden.current = true), []);

  const submit = async (typed: Record<string, unknown>) => {
    setBusy(true);
    setFailure(null);
    // A strict re-run of effects in development must not make the dialog believe that it was closed.
    hidden.current = false;
    try {
      await perform(resource, action, item, paramsOf(fields, typed, item));
      void message.success(t('dialog.done', { action: t(action.label) }));
      if (!hidden.current) close();
    } catch (thrown) {
      const error = asCallError(thrown);
      if (hidden.current) {
        const title = t('dialog.failed', { action: t(action.label) });
        notification.error({ message: title, description: <ErrorView failure={error} />, duration: 0, className: 'failed' });
      } else {
        setFailure(error);
      }
    } finally {
      setBusy(false);
      void client.invalidateQueries();
    }
  };

  const what = item ? nameOf(resource, item) : t(resource.one);
  return (
    <Modal
      open
      title={`${t(action.label)}: ${what}`}
      onCancel={close}
      maskClosable={false}
      width={620}
      className="form-dialog"
      footer={[
        <Button key="cancel" onClick={close}>
          {busy ? t('dialog.background') : t('dialog.cancel')}
        </Button>,
        <Button key="ok" type="primary" loading={busy} onClick={form.submit} data-testid="submit">
          {t('dialog.ok')}
        </Button>,
      ]}
    >
      {failure && <ErrorView failure={failure} title={t('dialog.failed', { action: t(action.label) })} />}
      <Form form={form} layout="vertical" disabled={busy} onFinish={(typed) => void submit(typed)} requiredMark scrollToFirstError>
        {fields.map((field) => (
          <FormField key={field.name} api={action.api} field={field} item={item} />
        ))}
        {fields.length === 0 && <Alert type="info" message={t('dialog.confirm')} />}
        {action.fits && <Fits form={form} />}
      </Form>
      {busy && <Running api={action.api} />}
    </Modal>
  );
}

/** How far the newest task of the call is. */
function Running({ api }: { api: string }) {
  const { t } = useSpeech();
  const task = useTasks().find((one) => one.api === api && one.state === 'running');
  return (
    <div className="running">
      <Progress percent={task?.percent ?? 0} status="active" size="small" />
      <span>{task?.stage || t('dialog.working')}</span>
    </div>
  );
}
