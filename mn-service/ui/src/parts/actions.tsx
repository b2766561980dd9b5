import { App } from 'antd';
import { useState, type ReactNode } from 'react';
import { useSpeech } from '../i18n/context';
import { nameOf, type Action, type AnyResource, type Item } from '../resources/define';
import { EnrolmentDialog } from '../pages/enrolment';
import { UploadDialog } from '../pages/upload';
import { FormDialog } from './form-dialog';
import { RemoveDialog } from './remove-dialog';
import { useRun } from './run';

interface Asked {
  action: Action<Item>;
  items: readonly Item[];
}

/** Starts actions of a resource: at once, after a question, or through a form. */
export function useActions(resource: AnyResource): { start: (action: Action<Item>, items: readonly Item[]) => void; dialogs: ReactNode } {
  const { t } = useSpeech();
  const { modal } = App.useApp();
  const run = useRun();
  const [asked, setAsked] = useState<Asked | null>(null);

  const start = (action: Action<Item>, items: readonly Item[]) => {
    if (action.special === 'console') {
      // Not `noopener`: nothing of ours is kept from our own page.
      for (const item of items) window.open(`/console/${item.uuid}`, `console-${item.uuid}`);
    } else if (action.fields || action.prepare || action.removes || action.special) {
      setAsked({ action, items });
    } else if (action.confirm) {
      const names = items.map((item) => nameOf(resource, item)).join(', ');
      modal.confirm({
        title: `${t(action.label)}: ${names}`,
        content: t('dialog.confirm'),
        okText: t(action.label),
        cancelText: t('dialog.cancel'),
        onOk: () => run(resource, action, items),
      });
    } else {
      run(resource, action, items);
    }
  };

  const close = () => setAsked(null);
  const dialogs = asked && (
    <>
      {asked.action.special === 'upload' ? (
        <UploadDialog close={close} />
      ) : asked.action.special === 'enrolment' ? (
        <EnrolmentDialog action={asked.action} close={close} />
      ) : asked.action.removes ? (
        <RemoveDialog resource={resource} {...asked} run={() => run(resource, asked.action, asked.items)} close={close} />
      ) : (
        <FormDialog resource={resource} action={asked.action} item={asked.items[0]} close={close} />
      )}
    </>
  );
  return { start, dialogs };
}
