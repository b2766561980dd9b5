import { FullscreenOutlined, ReloadOutlined } from '@ant-design/icons';
import { Alert, Badge, Button, Input, Modal, Space, Spin } from 'antd';
import RFB from '@novnc/novnc';
import { useQuery } from '@tanstack/react-query';
import { useCallback, useEffect, useRef, useState } from 'react';
import { useParams } from 'react-router-dom';
import { call, query } from '../api/client';
import { asCallError, CallError } from '../api/error';
import { useSpeech } from '../i18n/context';
import { ErrorView } from '../parts/error';

type Status = 'connecting' | 'connected' | 'disconnected';

/** Address of the console's web socket: where this page came from, whatever the proxy calls itself. */
function socket(token: string): string {
  const scheme = window.location.protocol === 'https:' ? 'wss' : 'ws';
  return `${scheme}://${window.location.host}/console?token=${encodeURIComponent(token)}`;
}

/** The screen of a VM (CS-VM-210, PLAT-CON-006). */
export default function ConsolePage() {
  const { t } = useSpeech();
  const { id = '' } = useParams();
  const screen = useRef<HTMLDivElement>(null);
  const rfb = useRef<RFB | null>(null);
  const [status, setStatus] = useState<Status>('connecting');
  const [failure, setFailure] = useState<CallError | null>(null);
  const [attempt, setAttempt] = useState(0);
  const [asking, setAsking] = useState(false);
  const [password, setPassword] = useState('');
  const { data: vm } = useQuery({ queryKey: ['detail', 'vms', id], queryFn: () => query('QueryVmInstance', { conditions: [`uuid=${id}`] }) });
  const name = vm?.items[0]?.name ?? id;

  useEffect(() => {
    document.title = t('console.title', { name });
  }, [t, name]);

  useEffect(() => {
    let over = false;
    setStatus('connecting');
    setFailure(null);
    const connect = async () => {
      const { inventory } = await call('RequestConsoleAccess', { vmInstanceUuid: id }, { shown: false });
      if (over || !screen.current) return;
      if (!inventory?.token) throw new CallError('network', { details: 'no console token' });
      const made = new RFB(screen.current, socket(inventory.token), { shared: true, wsProtocols: ['binary'] });
      rfb.current = made;
      made.scaleViewport = true;
      made.background = '#141414';
      made.addEventListener('connect', () => {
        setStatus('connected');
        made.focus();
      });
      made.addEventListener('disconnect', () => !over && setStatus('disconnected'));
      made.addEventListener('credentialsrequired', () => setAsking(true));
      made.addEventListener('securityfailure', (event) => {
        const { reason = '' } = (event as CustomEvent<{ reason?: string }>).detail;
        setFailure(new CallError('api', { description: t('console.refused', { reason }) }));
      });
    };
    connect().catch((thrown: unknown) => {
      if (over) return;
      setFailure(asCallError(thrown));
      setStatus('disconnected');
    });
    return () => {
      over = true;
      rfb.current?.disconnect();
      rfb.current = null;
    };
    // A change of language must not cut the connection.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [id, attempt]);

  const full = useCallback(() => void screen.current?.requestFullscreen(), []);
  const give = () => {
    rfb.current?.sendCredentials({ password });
    setAsking(false);
    setPassword('');
  };

  const lamp = { connecting: 'processing', connected: 'success', disconnected: 'error' } as const;
  return (
    <div className="console" data-testid="console" data-status={status}>
      <div className="console-bar">
        <strong>{name}</strong>
        <Badge status={lamp[status]} text={t(`console.${status}`)} />
        <Space>
          <Button size="small" disabled={status !== 'connected'} onClick={() => rfb.current?.sendCtrlAltDel()}>
            {t('console.cad')}
          </Button>
          <Button size="small" icon={<FullscreenOutlined />} disabled={status !== 'connected'} onClick={full}>
            {t('console.fullscreen')}
          </Button>
          <Button size="small" icon={<ReloadOutlined />} onClick={() => setAttempt(attempt + 1)}>
            {t('console.reconnect')}
          </Button>
        </Space>
      </div>
      {failure && <ErrorView failure={failure} />}
      {status === 'disconnected' && !failure && <Alert banner type="warning" message={t('console.lost')} />}
      <div className="console-screen" ref={screen}>
        {status === 'connecting' && <Spin className="console-wait" />}
      </div>
      <Modal open={asking} title={t('console.password')} onOk={give} onCancel={() => setAsking(false)} okText={t('dialog.ok')} cancelText={t('dialog.cancel')}>
        <Input.Password value={password} onChange={(event) => setPassword(event.target.value)} onPressEnter={give} autoFocus />
      </Modal>
    </div>
  );
}
