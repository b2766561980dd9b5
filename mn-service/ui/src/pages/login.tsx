import { LockOutlined, UserOutlined } from '@ant-design/icons';
import { Alert, Button, Card, Form, Input } from 'antd';
import { useState } from 'react';
import { asCallError, type CallError } from '../api/error';
import { logIn } from '../api/login';
import { hasExpired } from '../api/session';
import { useSpeech } from '../i18n/context';
import type { Key } from '../i18n/en';
import { LanguageSwitch } from '../parts/language-switch';

/** What a refused login means to the one who tried (PLAT-LOGIN-022). */
function meaning(failure: CallError): Key | undefined {
  if (failure.origin === 'network') return 'login.unreachable';
  return failure.error.code === 'ID.1006' ? 'login.full' : undefined;
}

/** Account login (PLAT-LOGIN-010). */
export function LoginPage() {
  const { t } = useSpeech();
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<CallError | null>(null);

  const submit = async ({ account, password }: { account: string; password: string }) => {
    setBusy(true);
    setFailure(null);
    try {
      await logIn(account, password);
    } catch (thrown) {
      setFailure(asCallError(thrown));
      setBusy(false);
    }
  };

  const text = failure && (meaning(failure) ? t(meaning(failure) ?? 'login.unreachable') : failure.message);
  return (
    <main className="login">
      <div className="login-language">
        <LanguageSwitch />
      </div>
      <Card className="login-card">
        <h1>
          <img src="/logo.svg" alt="" width={36} height={36} /> {t('product')}
        </h1>
        {hasExpired() && !failure && <Alert type="warning" showIcon message={t('login.expired')} data-testid="expired" />}
        {failure && <Alert type="error" showIcon message={text} description={failure.error.code} data-testid="login-error" />}
        <Form layout="vertical" onFinish={(typed: { account: string; password: string }) => void submit(typed)} requiredMark={false} initialValues={{ account: 'admin' }}>
          <Form.Item name="account" label={t('login.account')} rules={[{ required: true, message: t('form.required') }]}>
            <Input prefix={<UserOutlined />} autoComplete="username" autoFocus />
          </Form.Item>
          <Form.Item name="password" label={t('login.password')} rules={[{ required: true, message: t('form.required') }]}>
            <Input.Password prefix={<LockOutlined />} autoComplete="current-password" />
          </Form.Item>
          <Button type="primary" htmlType="submit" block loading={busy} data-testid="login">
            {t('login.submit')}
          </Button>
        </Form>
      </Card>
    </main>
  );
}
