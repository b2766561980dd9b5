import { UploadOutlined } from '@ant-design/icons';
import { Alert, App, Button, Form, Modal, Progress } from 'antd';
import { useQueryClient } from '@tanstack/react-query';
import { useEffect, useRef, useState } from 'react';
import { asCallError, type CallError } from '../api/error';
import { upload, type Description, type Progress as Sent } from '../api/upload';
import { useSpeech } from '../i18n/context';
import { ErrorView } from '../parts/error';
import { FormField } from '../parts/fields';
import { bytes } from '../parts/format';
import { images } from '../resources/storage';
import type { Field, Item } from '../resources/define';

/** Everything that is asked when an image is added by its URL, but the URL. */
const FIELDS: readonly Field<Item>[] = (images.create?.find((action) => action.key === 'add')?.fields ?? []).filter((field) => field.name !== 'url');

/** What a file's name says about it. */
export function guess(name: string): { name: string; format: string; mediaType: string } {
  const found = /^(.*?)\.(qcow2|img|raw|iso)$/i.exec(name);
  const kind = (found?.[2] ?? 'qcow2').toLowerCase();
  const format = kind === 'img' ? 'raw' : kind;
  return { name: found?.[1] || name, format, mediaType: kind === 'iso' ? 'ISO' : 'RootVolumeTemplate' };
}

/** Sends an image from this machine (CS-IMG-020, CS-IMG-031). */
export function UploadDialog({ close }: { close: () => void }) {
  const { t } = useSpeech();
  const { message, notification } = App.useApp();
  const client = useQueryClient();
  const [form] = Form.useForm<Omit<Description, 'mediaType'> & { mediaType: string }>();
  const [file, setFile] = useState<File | null>(null);
  const [sent, setSent] = useState<Sent | null>(null);
  const [failure, setFailure] = useState<CallError | null>(null);
  const picker = useRef<HTMLInputElement>(null);
  const hidden = useRef(false);
  const control = useRef<AbortController | null>(null);
  const busy = sent !== null;

  useEffect(() => () => void (hidden.current = true), []);

  const choose = (chosen: File | null) => {
    setFile(chosen);
    if (chosen) form.setFieldsValue(guess(chosen.name));
  };

  const begin = async (about: Description) => {
    if (!file) return;
    if (file.size === 0) {
      setFailure(asCallError(new Error(t('upload.empty'))));
      return;
    }
    hidden.current = false;
    const abort = new AbortController();
    control.current = abort;
    const warn = (event: BeforeUnloadEvent) => event.preventDefault();
    window.addEventListener('beforeunload', warn);
    setFailure(null);
    setSent({ sent: 0, total: file.size });
    try {
      await upload(file, about, setSent, abort.signal);
      void message.success(t('dialog.done', { action: t('upload.title') }));
      if (!hidden.current) close();
    } catch (thrown) {
      const error = asCallError(thrown);
      if (abort.signal.aborted) void message.info(t('upload.cancelled'));
      else if (hidden.current) notification.error({ message: t('upload.title'), description: <ErrorView failure={error} />, duration: 0, className: 'failed' });
      else setFailure(error);
    } finally {
      window.removeEventListener('beforeunload', warn);
      setSent(null);
      void client.invalidateQueries();
    }
  };

  const percent = sent ? Math.floor((sent.sent / sent.total) * 100) : 0;
  return (
    <Modal
      open
      title={t('upload.title')}
      maskClosable={false}
      width={620}
      className="upload-dialog"
      onCancel={close}
      footer={
        busy
          ? [
              <Button key="abort" danger onClick={() => control.current?.abort()} data-testid="upload-abort">
                {t('dialog.cancel')}
              </Button>,
              <Button key="hide" onClick={close}>
                {t('upload.hidden')}
              </Button>,
            ]
          : [
              <Button key="cancel" onClick={close}>
                {t('dialog.cancel')}
              </Button>,
              <Button key="ok" type="primary" disabled={!file} onClick={form.submit} data-testid="submit">
                {t('upload.start')}
              </Button>,
            ]
      }
    >
      {failure && <ErrorView failure={failure} title={t('dialog.failed', { action: t('upload.title') })} />}
      <Form form={form} layout="vertical" disabled={busy} onFinish={(about) => void begin(about)}>
        <Form.Item label={t('upload.file')} required>
          <input ref={picker} type="file" className="picker" data-testid="file" onChange={(event) => choose(event.target.files?.[0] ?? null)} />
          <Button icon={<UploadOutlined />} onClick={() => picker.current?.click()}>
            {file ? `${file.name} (${bytes(file.size)})` : t('upload.choose')}
          </Button>
        </Form.Item>
        {FIELDS.map((field) => (
          <FormField key={field.name} api="AddImage" field={field} item={undefined} />
        ))}
      </Form>
      {sent && (
        <div className="running" data-testid="upload-progress" data-sent={sent.sent}>
          <Progress percent={percent} status="active" />
          <p>
            {sent.sent >= sent.total
              ? t('upload.check')
              : t('upload.busy', { name: file?.name ?? '', percent, done: bytes(sent.sent), total: bytes(sent.total) })}
          </p>
          <Alert type="info" showIcon message={t('upload.stay')} />
        </div>
      )}
    </Modal>
  );
}
