import { GlobalOutlined } from '@ant-design/icons';
import { Select } from 'antd';
import { useSpeech } from '../i18n/context';

/** Chooses the language; each is called by its own name. */
export function LanguageSwitch() {
  const { language, choose, t } = useSpeech();
  return (
    <Select
      value={language}
      onChange={choose}
      variant="borderless"
      suffixIcon={<GlobalOutlined />}
      aria-label={t('shell.language')}
      data-testid="language"
      popupMatchSelectWidth={false}
      options={[
        { value: 'en', label: 'English' },
        { value: 'zh', label: '中文' },
      ]}
    />
  );
}
