import type { CallError, ErrorCode } from './error';

/** A job that this browser started, as the list of tasks shows it. */
export interface Task {
  /** Uuid of the job. */
  id: string;
  /** The call, for example `StartVmInstance`. */
  api: string;
  /** Name of what it is about. */
  subject: string;
  state: 'running' | 'succeeded' | 'failed';
  /** Per cent, while it runs and tells. */
  percent?: number;
  stage?: string;
  error?: ErrorCode;
  /** Milliseconds since 1970. */
  started: number;
  ended?: number;
}

/** Older finished tasks are forgotten; the audit keeps them. */
const KEPT = 100;
const KEY = 'zstack.tasks';

let list: readonly Task[] = load();
const listeners = new Set<() => void>();

function load(): Task[] {
  try {
    return JSON.parse(globalThis.sessionStorage?.getItem(KEY) ?? '[]') as Task[];
  } catch {
    return [];
  }
}

function store(next: readonly Task[]): void {
  list = next.slice(0, KEPT);
  try {
    // Uploads are not written down: a reload ends them.
    globalThis.sessionStorage?.setItem(KEY, JSON.stringify(list.filter((task) => !task.id.startsWith('upload-'))));
  } catch {
    // A full or forbidden store costs the list its memory over a reload, nothing else.
  }
  for (const listener of listeners) listener();
}

function change(id: string, part: Partial<Task>): void {
  store(list.map((task) => (task.id === id ? { ...task, ...part } : task)));
}

/** The tasks, the newest first. */
export function all(): readonly Task[] {
  return list;
}

/** The tasks that run. */
export function open(): readonly Task[] {
  return list.filter((task) => task.state === 'running');
}

export function begin(task: Pick<Task, 'id' | 'api' | 'subject'>): void {
  store([{ ...task, state: 'running', started: Date.now() }, ...list.filter((other) => other.id !== task.id)]);
}

export function progress(id: string, percent: number, stage: string): void {
  change(id, { percent: Math.min(Math.max(percent, 0), 100), stage });
}

export function succeed(id: string): void {
  change(id, { state: 'succeeded', percent: 100, ended: Date.now() });
}

export function fail(id: string, failure: CallError): void {
  change(id, { state: 'failed', error: failure.error, ended: Date.now() });
}

/** Forgets what has ended. */
export function clear(): void {
  store(open());
}

export function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
