import { Alert, App, Form, Input, Modal } from 'antd';
import { useState } from 'react';
import { asCallError, type CallError } from '../api/error';
import { changePassword, logOut } from '../api/login';
import { useSpeech } from '../i18n/context';
import { ErrorView } from './error';

interface Typed {
  old: string;
  next: string;
  repeat: string;
}

/** Shortest password that is taken here. */
const SHORTEST = 8;

/** Changes the own password. A forced change can only be made or left by logging out. */
export function PasswordDialog({ forced, close }: { forced: boolean; close: () => void }) {
  const { t } = useSpeech();
  const { message } = App.useApp();
  const [form] = Form.useForm<Typed>();
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<CallError | null>(null);

  const submit = async ({ old, next }: Typed) => {
    setBusy(true);
    setFailure(null);
    try {
      await changePassword(old, next);
      void message.success(t('password.done'));
      close();
    } catch (thrown) {
      setFailure(asCallError(thrown));
      setBusy(false);
    }
  };

  const required = { required: true, message: t('form.required') };
  return (
    <Modal
      open
      title={t('password.title')}
      closable={!forced}
      maskClosable={false}
      keyboard={!forced}
      className="password-dialog"
      okText={t('password.title')}
      okButtonProps={{ 'data-testid': 'submit' } as Record<`data-${string}`, string>}
      cancelText={forced ? t('shell.logout') : t('dialog.cancel')}
      confirmLoading={busy}
      onOk={form.submit}
      onCancel={() => (forced ? void logOut() : close())}
    >
      {forced && <Alert type="warning" showIcon message={t('password.forced')} />}
      {failure && <ErrorView failure={failure} />}
      <Form form={form} layout="vertical" onFinish={(typed) => void submit(typed)} requiredMark={false}>
        <Form.Item name="old" label={t('password.old')} rules={[required]}>
          <Input.Password autoComplete="current-password" />
        </Form.Item>
        <Form.Item
          name="next"
          label={t('password.new')}
          dependencies={['old']}
          rules={[
            required,
            { min: SHORTEST, message: t('password.short') },
            ({ getFieldValue }) => ({
              validator: (_, value) => (value && value === getFieldValue('old') ? Promise.reject(new Error(t('password.same'))) : Promise.resolve()),
            }),
          ]}
        >
          <Input.Password autoComplete="new-password" />
        </Form.Item>
        <Form.Item
          name="repeat"
          label={t('password.repeat')}
          dependencies={['next']}
          rules={[
            required,
            ({ getFieldValue }) => ({
              validator: (_, value) => (value && value !== getFieldValue('next') ? Promise.reject(new Error(t('password.differ'))) : Promise.resolve()),
            }),
          ]}
        >
          <Input.Password autoComplete="new-password" />
        </Form.Item>
      </Form>
    </Modal>
  );
}
