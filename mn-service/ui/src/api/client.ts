import { apis, type Answers, type Params, type Queries } from '../contract/generated';
import * as clock from './clock';
import { CallError, isExpired, type ErrorCode } from './error';
import { end, session } from './session';
import * as tasks from './tasks';

/** Every call that is not a query. */
export type CallName = keyof Params;
/** Every query. */
export type QueryName = keyof Queries;

/** Facts about a parameter, for forms. */
export interface ParamFacts {
  in: 'path' | 'query' | 'body';
  required?: boolean;
  values?: readonly string[];
  maxLength?: number;
  range?: readonly number[];
  pattern?: string;
}

interface ApiFacts {
  method: string;
  path: string;
  bodyKey?: string;
  job?: boolean;
  adminOnly?: boolean;
  params: Readonly<Record<string, ParamFacts>>;
}

const BASE = '/zstack/v1';

/** How a call travels and what its parameters must be. */
export function facts(name: CallName | QueryName): ApiFacts {
  return apis[name] as ApiFacts;
}

/** A request as it goes over the wire. */
export interface Wire {
  method: string;
  url: string;
  body?: string;
}

/** Puts the parameters of a call where the contract wants them. */
export function wire(name: CallName, params: Record<string, unknown>): Wire {
  const { method, path, bodyKey, params: known } = facts(name);
  const body: Record<string, unknown> = {};
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(params)) {
    if (value === undefined || value === null || path.includes(`{${key}}`)) continue;
    if (known[key]?.in === 'query' || method === 'GET' || method === 'DELETE') {
      for (const one of Array.isArray(value) ? value : [value]) query.append(key, String(one));
    } else if (key !== 'systemTags') {
      body[key] = value;
    }
  }
  const filled = path.replace(/\{(\w+)\}/g, (_, key: string) => encodeURIComponent(String(params[key] ?? '')));
  const text = query.toString();
  const url = BASE + filled + (text ? `?${text}` : '');
  if (method === 'GET' || method === 'DELETE') return { method, url };
  const wrapped: Record<string, unknown> = bodyKey ? { [bodyKey]: body } : body;
  if (params.systemTags) wrapped.systemTags = params.systemTags;
  return { method, url, body: JSON.stringify(wrapped) };
}

/** Address of a job here, whatever address the service knows itself by. */
export function here(location: string, marker: string): string {
  const at = location.indexOf(marker);
  if (at < 0) throw new CallError('network', { description: 'unexpected answer', details: location });
  return location.slice(at);
}

async function exchange(request: Wire, name: string, job?: string): Promise<{ status: number; body: unknown }> {
  const headers: Record<string, string> = {};
  const token = session()?.uuid;
  if (token) headers.Authorization = `OAuth ${token}`;
  if (request.body !== undefined) headers['Content-Type'] = 'application/json; charset=utf-8';
  const sent = Date.now();
  let answer: Response;
  let text: string;
  try {
    answer = await fetch(request.url, { method: request.method, headers, body: request.body, cache: 'no-store' });
    text = await answer.text();
  } catch (cause) {
    throw new CallError('network', { details: String(cause) }, name, job);
  }
  clock.note(answer.headers.get('Date'), sent, Date.now());
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    throw new CallError('request', { code: `HTTP ${answer.status}`, details: text.slice(0, 4096) }, name, job);
  }
  if (answer.status === 200 || answer.status === 202) return { status: answer.status, body };
  const error = (body as { error?: ErrorCode }).error ?? { code: `HTTP ${answer.status}`, details: text };
  // Another tab may have begun a new session meanwhile; that one lives on.
  if (isExpired(error) && session()?.uuid === token) end('expired');
  throw new CallError('api', error, name, job);
}

/** Options of a call that becomes a job. */
export interface Options {
  /** What the task is about, for the list of tasks. */
  subject?: string;
  /** False keeps the job out of the list of tasks. */
  shown?: boolean;
}

/** Makes a call; one that becomes a job is followed to its end and shown in the list of tasks meanwhile. */
export async function call<N extends CallName>(name: N, params: Params[N], options: Options = {}): Promise<Answers[N]> {
  const request = wire(name, params as Record<string, unknown>);
  const { status, body } = await exchange(request, name);
  if (status !== 202) return body as Answers[N];
  const location = here(String((body as { location?: unknown }).location), '/zstack/v1/api-jobs/');
  const job = location.slice(location.lastIndexOf('/') + 1);
  const shown = options.shown !== false;
  if (shown) tasks.begin({ id: job, api: name, subject: options.subject ?? '' });
  return (await follow(job, name, shown)) as Answers[N];
}

/** Follows a job to its end. */
export async function follow(job: string, name: string, shown: boolean): Promise<unknown> {
  try {
    let lost = 0;
    for (;;) {
      let answer;
      try {
        answer = await exchange({ method: 'GET', url: `${BASE}/api-jobs/${job}` }, name, job);
        lost = 0;
      } catch (failure) {
        // The service may be restarting; it takes its jobs up again.
        if (!(failure instanceof CallError) || failure.origin !== 'network' || ++lost > 30) throw failure;
        await pause(2000);
        continue;
      }
      if (answer.status === 200) {
        if (shown) tasks.succeed(job);
        return answer.body;
      }
      if (shown) await progress(job);
      await pause(300);
    }
  } catch (failure) {
    if (shown && failure instanceof CallError) tasks.fail(job, failure);
    throw failure;
  }
}

async function progress(job: string): Promise<void> {
  try {
    const request = wire('GetTaskProgress', { apiId: job });
    const { body } = await exchange(request, 'GetTaskProgress');
    const entry = (body as Answers['GetTaskProgress']).inventories?.[0];
    const percent = Number(entry?.content);
    if (entry && !Number.isNaN(percent)) tasks.progress(job, percent, String(entry.opaque?.stage || entry.opaque?.step || ''));
  } catch {
    // A task whose progress is not known is still followed.
  }
}

/** Goes on with the tasks of the page before a reload. */
export function resume(): void {
  for (const task of tasks.open()) {
    follow(task.id, task.api, true).catch(() => undefined);
  }
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((done) => setTimeout(done, milliseconds));
}

/** A query in the grammar of PROTOCOL.md section 8. */
export interface Query {
  conditions?: readonly string[];
  start?: number;
  limit?: number;
  /** Field name, with `-` in front for descending. */
  sort?: string;
  fields?: readonly string[];
  /** Count alone, no inventories. */
  count?: boolean;
}

/** What a query found. */
export interface Page<T> {
  items: T[];
  total: number;
}

/** Address of a query. */
export function queryUrl(name: QueryName, query: Query): string {
  const text = new URLSearchParams();
  for (const condition of query.conditions ?? []) text.append('q', condition);
  if (query.count) text.set('count', 'true');
  else text.set('replyWithCount', 'true');
  if (query.limit !== undefined) text.set('limit', String(query.limit));
  if (query.start) text.set('start', String(query.start));
  if (query.sort) text.set('sort', query.sort.startsWith('-') ? query.sort : `+${query.sort}`);
  if (query.fields) text.set('fields', query.fields.join(','));
  return `${BASE}${facts(name).path}?${text.toString()}`;
}

/** Runs a query. */
export async function query<N extends QueryName>(name: N, asked: Query = {}): Promise<Page<Queries[N]>> {
  const { body } = await exchange({ method: 'GET', url: queryUrl(name, asked) }, name);
  const { inventories = [], total } = body as { inventories?: Queries[N][]; total?: number };
  return { items: inventories, total: total ?? inventories.length };
}

/** How many a query finds. */
export async function count(name: QueryName, conditions: readonly string[]): Promise<number> {
  return (await query(name, { conditions, count: true })).total;
}
