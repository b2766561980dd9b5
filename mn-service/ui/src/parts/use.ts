import { useSyncExternalStore } from 'react';
import { useQuery } from '@tanstack/react-query';
import { facts, query, type CallName, type QueryName } from '../api/client';
import * as clock from '../api/clock';
import { ADMIN, session, subscribe, type Session } from '../api/session';
import * as tasks from '../api/tasks';
import { resources } from '../resources';
import { idOf, nameOf, type Item, type Kind } from '../resources/define';

/** How often what is on the screen is asked for again, milliseconds. */
export const REFRESH = 5000;

export function useSession(): Session | null {
  return useSyncExternalStore(subscribe, session);
}

export function useTasks(): readonly tasks.Task[] {
  return useSyncExternalStore(tasks.subscribe, tasks.all);
}

export function useClockSkew(): number {
  return useSyncExternalStore(clock.subscribe, clock.skew);
}

const reducedMotion = window.matchMedia('(prefers-reduced-motion: reduce)');

/** Whether the user's system asks for pages that do not move (WCAG 2.1, 2.3.3). */
export function useReducedMotion(): boolean {
  return useSyncExternalStore(subscribeMotion, () => reducedMotion.matches);
}

function subscribeMotion(listener: () => void): () => void {
  reducedMotion.addEventListener('change', listener);
  return () => reducedMotion.removeEventListener('change', listener);
}

/** Whether the session may make a call, as far as the contract tells. */
export function useMay(): (api: CallName | QueryName) => boolean {
  const admin = useSession()?.account === ADMIN;
  return (api) => admin || facts(api).adminOnly !== true;
}

/** Names of resources by uuid, asked for all at once. */
export function useNames(kind: Kind | undefined, uuids: readonly string[]): Readonly<Record<string, string>> {
  const wanted = [...new Set(uuids)].sort();
  const { data } = useQuery({
    queryKey: ['names', kind, ...wanted],
    enabled: kind !== undefined && wanted.length > 0,
    queryFn: async () => {
      if (!kind) return {};
      const resource = resources[kind];
      const conditions = [`uuid?=${wanted.join(',')}`];
      const { items } = await query(resource.query, { conditions, fields: ['uuid', 'name'] });
      return Object.fromEntries((items as Item[]).map((item) => [idOf(resource, item), nameOf(resource, item)]));
    },
  });
  return data ?? {};
}
