import { en, type Key } from './en';
import { zh } from './zh';

/** Languages of the UI. */
export type Language = 'en' | 'zh';

const KEY = 'zstack.language';
const texts: Record<Language, Record<Key, string>> = { en, zh };

/** What was chosen, else what the browser prefers. */
export function preferred(): Language {
  const chosen = localStorage.getItem(KEY);
  if (chosen === 'en' || chosen === 'zh') return chosen;
  return navigator.language.toLowerCase().startsWith('zh') ? 'zh' : 'en';
}

export function remember(language: Language): void {
  localStorage.setItem(KEY, language);
}

/** Values that go into a text, by the name between its braces. */
export type Values = Readonly<Record<string, string | number>>;

/** Gives the text of a name. */
export type Translate = (key: Key, values?: Values) => string;

export function translator(language: Language): Translate {
  return (key, values) =>
    texts[language][key].replace(/\{(\w+)\}/g, (found, name: string) => String(values?.[name] ?? found));
}

/** The name of a text whose name is put together at run time, if there is such a text. */
export function known(key: string): Key | undefined {
  return Object.hasOwn(en, key) ? (key as Key) : undefined;
}
