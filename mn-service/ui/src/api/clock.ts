/** How far the browser's clock is from the management node's (F-573), from the `Date` of every answer. */

/** Differences below this many seconds are not worth a word: `Date` has whole seconds and answers take time. */
export const TOLERANCE = 60;

let difference = 0;
const listeners = new Set<() => void>();

/** Notes an answer that was asked for at `sent` and came at `received` (milliseconds). */
export function note(date: string | null, sent: number, received: number): void {
  const server = date ? Date.parse(date) : Number.NaN;
  if (Number.isNaN(server)) return;
  // The service wrote its date somewhere between the two; only what lies outside is a difference.
  const behind = server + 1000 < sent ? server + 1000 - sent : 0;
  const ahead = server > received ? server - received : 0;
  const next = Math.round((behind + ahead) / 1000);
  if (Math.abs(next - difference) < 5 && next !== 0) return;
  if (next === difference) return;
  difference = next;
  for (const listener of listeners) listener();
}

/** Seconds by which the management node is ahead of the browser; 0 when they agree. */
export function skew(): number {
  return Math.abs(difference) > TOLERANCE ? difference : 0;
}

export function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
