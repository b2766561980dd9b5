import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { call, here, query, queryUrl, wire } from '../src/api/client';
import { CallError } from '../src/api/error';
import * as session from '../src/api/session';
import * as tasks from '../src/api/tasks';

/** A store like the browser's. */
class Memory {
  private items = new Map<string, string>();
  getItem = (key: string) => this.items.get(key) ?? null;
  setItem = (key: string, value: string) => void this.items.set(key, value);
  removeItem = (key: string) => void this.items.delete(key);
}

interface Answer {
  status: number;
  body: unknown;
}

/** A service that answers from a script and remembers what it was asked. */
function service(answers: Answer[]): { url: string; init: RequestInit }[] {
  const asked: { url: string; init: RequestInit }[] = [];
  vi.stubGlobal('fetch', (url: string, init: RequestInit) => {
    asked.push({ url, init });
    const next = answers.shift();
    if (!next) return Promise.reject(new TypeError('connection refused'));
    const text = typeof next.body === 'string' ? next.body : JSON.stringify(next.body);
    return Promise.resolve(new Response(text, { status: next.status }));
  });
  return asked;
}

const JOB = { status: 202, body: { location: 'http://192.0.2.1:8080/zstack/v1/api-jobs/7e57', apiTimeout: 1 } };

beforeEach(() => {
  vi.stubGlobal('localStorage', new Memory());
  session.begin({ uuid: 'token', account: 'a', accountName: 'admin' });
  tasks.clear();
});

afterEach(() => {
  vi.unstubAllGlobals();
});

describe('requests', () => {
  it('follow the contract: path, wrapped body, query string', () => {
    expect(wire('StopVmInstance', { uuid: 'u', type: 'cold' })).toEqual({
      method: 'PUT',
      url: '/zstack/v1/vm-instances/u/actions',
      body: '{"stopVmInstance":{"type":"cold"}}',
    });
    expect(wire('DestroyVmInstance', { uuid: 'u', deleteMode: 'Enforcing' })).toEqual({
      method: 'DELETE',
      url: '/zstack/v1/vm-instances/u?deleteMode=Enforcing',
    });
    expect(wire('GetCpuMemoryCapacity', { zoneUuids: ['a', 'b'] }).url).toBe('/zstack/v1/hosts/capacities/cpu-memory?zoneUuids=a&zoneUuids=b');
    expect(wire('ExplainVmPlacement', { imageUuid: 'i', l3NetworkUuids: ['l'], systemTags: ['a::b'] }).url).toMatch(/\?imageUuid=i&l3NetworkUuids=l&systemTags=a%3A%3Ab$/);
    const created = wire('CreateVmInstance', { name: 'vm', systemTags: ['hostname::vm'] });
    expect(JSON.parse(created.body ?? '')).toEqual({ params: { name: 'vm' }, systemTags: ['hostname::vm'] });
  });

  it('encode what a person typed', () => {
    const url = queryUrl('QueryZone', { conditions: ['name~=%a&b=c%'], sort: 'name', limit: 10, start: 20 });
    expect(url).toBe('/zstack/v1/zones?q=name%7E%3D%25a%26b%3Dc%25&replyWithCount=true&limit=10&start=20&sort=%2Bname');
    expect(wire('UpdateGlobalConfig', { category: 'a/b', name: 'n', value: '1' }).url).toBe('/zstack/v1/global-configurations/a%2Fb/n/actions');
  });

  it('stay at the address of the page', () => {
    expect(here('http://192.0.2.1:8080/zstack/v1/api-jobs/1', '/zstack/v1/api-jobs/')).toBe('/zstack/v1/api-jobs/1');
    expect(() => here('http://192.0.2.1/elsewhere', '/zstack/v1/api-jobs/')).toThrow(CallError);
  });
});

describe('jobs', () => {
  it('are followed to their end, with progress', async () => {
    const asked = service([
      JOB,
      { status: 202, body: {} },
      { status: 200, body: { inventories: [{ content: '40', opaque: { step: 'download' } }] } },
      { status: 200, body: { inventory: { name: 'zone' } } },
    ]);
    const seen: (number | undefined)[] = [];
    const leave = tasks.subscribe(() => seen.push(tasks.all()[0]?.percent));
    const answer = await call('CreateZone', { name: 'zone' }, { subject: 'zone' });
    leave();
    expect(answer.inventory?.name).toBe('zone');
    expect(asked.map((one) => one.url)).toEqual([
      '/zstack/v1/zones',
      '/zstack/v1/api-jobs/7e57',
      '/zstack/v1/task-progresses/7e57',
      '/zstack/v1/api-jobs/7e57',
    ]);
    expect((asked[0]?.init.headers as Record<string, string>).Authorization).toBe('OAuth token');
    expect(seen).toContain(40);
    expect(tasks.all()[0]).toMatchObject({ id: '7e57', api: 'CreateZone', subject: 'zone', state: 'succeeded' });
  });

  it('that fail keep their error in the list of tasks', async () => {
    service([JOB, { status: 503, body: { error: { code: 'SYS.1006', details: 'no host fits' } } }]);
    await expect(call('CreateZone', { name: 'zone' })).rejects.toMatchObject({ origin: 'api', job: '7e57', message: 'no host fits' });
    expect(tasks.all()[0]).toMatchObject({ state: 'failed', error: { code: 'SYS.1006' } });
  });

  it('survive a restart of the service', async () => {
    vi.useFakeTimers();
    let down = 3;
    vi.stubGlobal('fetch', (url: string) => {
      if (url.endsWith('/zones')) return Promise.resolve(new Response(JSON.stringify(JOB.body), { status: 202 }));
      if (down-- > 0) return Promise.reject(new TypeError('connection refused'));
      return Promise.resolve(new Response('{}', { status: 200 }));
    });
    const done = call('CreateZone', { name: 'zone' });
    await vi.advanceTimersByTimeAsync(10_000);
    await expect(done).resolves.toEqual({});
    vi.useRealTimers();
  });
});

describe('failures', () => {
  it('tell a refusal, a malformed request and a lost connection apart', async () => {
    service([{ status: 400, body: 'limit must be an integer' }]);
    await expect(query('QueryZone')).rejects.toMatchObject({ origin: 'request', error: { code: 'HTTP 400', details: 'limit must be an integer' } });
    service([]);
    await expect(query('QueryZone')).rejects.toMatchObject({ origin: 'network' });
    expect(session.session()).not.toBeNull();
  });

  it('end the session when it has expired', async () => {
    service([{ status: 503, body: { error: { code: 'ID.1001', details: 'Session expired' } } }]);
    await expect(query('QueryZone')).rejects.toBeInstanceOf(CallError);
    expect(session.session()).toBeNull();
    expect(session.hasExpired()).toBe(true);
  });

  it('of an old session leave a new one alone', async () => {
    vi.stubGlobal('fetch', () => {
      session.begin({ uuid: 'newer', account: 'a', accountName: 'admin' });
      return Promise.resolve(new Response('{"error":{"code":"ID.1001"}}', { status: 503 }));
    });
    await expect(query('QueryZone')).rejects.toBeInstanceOf(CallError);
    expect(session.session()?.uuid).toBe('newer');
  });
});
