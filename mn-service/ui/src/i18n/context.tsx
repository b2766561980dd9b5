import { createContext, useContext } from 'react';
import { translator, type Language, type Translate } from './language';

/** The language of the page and how to change it. */
export interface Speech {
  language: Language;
  t: Translate;
  choose: (language: Language) => void;
}

export const SpeechContext = createContext<Speech>({ language: 'en', t: translator('en'), choose: () => undefined });

export function useSpeech(): Speech {
  return useContext(SpeechContext);
}
