import { App } from 'antd';
import { useQueryClient } from '@tanstack/react-query';
import { useCallback } from 'react';
import { call, type CallName } from '../api/client';
import { asCallError } from '../api/error';
import type { Params } from '../contract/generated';
import { useSpeech } from '../i18n/context';
import type { Action, AnyResource, Item } from '../resources/define';
import { nameOf } from '../resources/define';
import { ErrorView } from './error';

/** Parameters that an action has without asking. */
export function given(action: Action<Item>, item: Item | undefined): Record<string, unknown> {
  if (!item) return {};
  return action.params ? action.params(item) : { uuid: item.uuid };
}

/** Makes the call of an action; the list of tasks shows it. */
export async function perform(
  resource: AnyResource,
  action: Action<Item>,
  item: Item | undefined,
  typed: Record<string, unknown>,
): Promise<void> {
  const merged = { ...given(action, item), ...typed };
  const params = action.prepare ? await action.prepare(merged, item) : merged;
  const subject = item ? nameOf(resource, item) : String(typed.name ?? '');
  await call(action.api, params as Params[CallName], { subject });
}

/** Runs an action in the background on each of the items; failures are shown where one happens to be. */
export function useRun(): (resource: AnyResource, action: Action<Item>, items: readonly Item[]) => void {
  const { t } = useSpeech();
  const { message, notification } = App.useApp();
  const client = useQueryClient();
  return useCallback(
    (resource, action, items) => {
      void message.info(t('dialog.started', { action: t(action.label) }));
      for (const item of items) {
        perform(resource, action, item, {})
          .catch((thrown: unknown) => {
            const title = `${t('dialog.failed', { action: t(action.label) })}: ${nameOf(resource, item)}`;
            notification.error({ message: title, description: <ErrorView failure={asCallError(thrown)} />, duration: 0, className: 'failed' });
          })
          .finally(() => void client.invalidateQueries());
      }
    },
    [t, message, notification, client],
  );
}
