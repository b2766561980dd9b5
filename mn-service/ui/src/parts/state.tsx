import { Badge } from 'antd';
import { useSpeech } from '../i18n/context';
import { known, type Translate } from '../i18n/language';

type Mood = 'success' | 'processing' | 'default' | 'error' | 'warning';

const MOODS: Record<string, Mood> = {
  Running: 'success',
  Enabled: 'success',
  Connected: 'success',
  Open: 'success',
  Ready: 'success',
  Stopped: 'default',
  Disabled: 'default',
  Deleted: 'default',
  Destroyed: 'default',
  UsedUp: 'default',
  Expired: 'default',
  NotInstantiated: 'default',
  Created: 'default',
  Paused: 'warning',
  Maintenance: 'warning',
  PreMaintenance: 'warning',
  Unknown: 'error',
  NoState: 'error',
  Crashed: 'error',
  Error: 'error',
  Burned: 'error',
  Disconnected: 'error',
};

/** A state in words of the language. */
export function word(t: Translate, value: unknown): string {
  const key = known(`v.${String(value)}`);
  return key ? t(key) : String(value);
}

/** A state with a lamp: whatever is not settled is on its way. */
export function StateLamp({ value }: { value: unknown }) {
  const { t } = useSpeech();
  if (value === undefined || value === null) return null;
  return <Badge status={MOODS[String(value)] ?? 'processing'} text={word(t, value)} data-state={String(value)} />;
}
