import { Alert, Descriptions, Typography } from 'antd';
import type { CallError } from '../api/error';
import { chain } from '../api/error';
import { useSpeech } from '../i18n/context';
import { known } from '../i18n/language';

/** A failure: code, description, details, what led to it, and the way out. */
export function ErrorView({ failure, title }: { failure: CallError; title?: string }) {
  const { t } = useSpeech();
  const [first, ...causes] = chain(failure.error);
  const way = failure.origin === 'network' ? 'way.network' : (known(`way.${first?.code ?? ''}`) ?? 'way.other');
  const rows = [
    { label: t('error.code'), text: first?.code },
    { label: t('error.description'), text: first?.description },
    { label: t('error.details'), text: [first?.details, first?.elaboration].filter(Boolean).join('\n') },
    ...causes.map((cause) => ({
      label: t('error.cause'),
      text: [cause.code, cause.description, cause.details].filter(Boolean).join(': '),
    })),
    { label: t('error.wayOut'), text: t(way) },
    { label: t('error.job'), text: failure.job },
  ].filter((row) => row.text);
  return (
    <Alert
      type="error"
      showIcon
      className="failure"
      message={title ?? (failure.origin === 'network' ? t('error.network') : (first?.description ?? failure.message))}
      description={
        <Descriptions column={1} size="small">
          {rows.map((row, index) => (
            <Descriptions.Item key={index} label={row.label}>
              <Typography.Text className="pre">{row.text}</Typography.Text>
            </Descriptions.Item>
          ))}
        </Descriptions>
      }
    />
  );
}
