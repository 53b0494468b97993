import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { addKey, revokeKey } from '../../src/accounts/keys/manage.js';
import { get, json, type Reply } from '../support/exchange.js';
import { newFolder } from '../support/folder.js';
import { demoModel, LIVE_KEY, LiveProcess, LiveServer, writeConfig } from '../support/live.js';
import { begun, CHAT, ENDLESS_CHAT, KEY, messages, post } from './requests.js';

/** Models, groups, keys and budgets change while the server serves. On real llama.cpp. */

const brief = { messages, temperature: 0, max_tokens: 2 };
const demo = demoModel();
/** Others are loaded by their first request. */
const preloaded = demoModel({ preload: true });

/** One server that several tests put another configuration into. */
let live: LiveServer;
let second: string;
const folder = newFolder();
const keysFile = join(folder, 'keys.json');

beforeAll(async () => {
  second = (await addKey(keysFile, { name: 'second' })).key;
  live = await new LiveServer((folder) => ({
    LMSERV_CONFIG: writeConfig(folder, { models: { demo } }),
    API_KEYS_FILE: keysFile,
  })).start();
});

afterAll(() => live.stop());

const ask = (path: string, body: object, key = LIVE_KEY): Promise<Reply> =>
  post(live, path, body, { 'X-API-Key': key });

const chat = (model: string, key?: string): Promise<Reply> => ask(CHAT, { ...brief, model }, key);

/** Adds a key and waits until the server, which watches the file, has taken it. */
async function newKey(options: Parameters<typeof addKey>[1]): Promise<string> {
  const reloaded = live.next('keys_reloaded');
  const { key } = await addKey(keysFile, options);
  await reloaded;
  return key;
}

/** Writes the file and waits until the server, which watches it, has taken or refused it. */
async function rewrite(config: object | string, event = 'config_reloaded'): Promise<any> {
  const seen = live.next(event);
  writeConfig(live.dataDir, config);
  return seen;
}

const modelIds = async (): Promise<string[]> =>
  json(await get(`${live.url}/v1/models`, KEY)).data.map(({ id }: { id: string }) => id);

describe('the configuration file', () => {
  test('a model and a group are added while the others keep serving', async () => {
    const pids = live.workerPids();
    expect((await chat('team')).status).toBe(404);
    await rewrite({ models: { demo, other: demo }, groups: { team: { members: ['other', 'demo'] } } });
    expect((await chat('other')).status).toBe(200);
    expect(json(await chat('team')).model).toBe('other');
    expect(await modelIds()).toEqual(expect.arrayContaining(['demo', 'other', 'team']));
    expect(live.workerPids()).toEqual(expect.arrayContaining(pids));
    expect(live.workerPids()).toHaveLength(2);
  });

  test('a removed model finishes its running stream before its worker ends', async () => {
    const running = await begun(live, CHAT, { ...ENDLESS_CHAT, model: 'other', max_tokens: 600 });
    const ended = live.next('worker_exit');
    await rewrite({ models: { demo } });
    expect((await chat('other')).status).toBe(404);
    expect(await modelIds()).not.toContain('other');
    const reply = await running.reply;
    expect(reply.text).toMatch(/"finish_reason":"length"[\s\S]*data: \[DONE\]\n\n$/);
    expect(await ended).toMatchObject({ worker: expect.stringMatching(/^other#/), reason: 'shutdown' });
    expect((await chat('demo')).status).toBe(200);
    expect(live.workerPids()).toHaveLength(1);
  });

  test('a worker that finishes a reply for a model removed earlier is not forgotten when another one ends', async () => {
    await rewrite({ models: { demo, early: preloaded, late: preloaded } });
    const { pid } = await live.until('worker_spawn', ({ worker }) => worker.startsWith('early#'));
    const running = await begun(live, CHAT, { ...ENDLESS_CHAT, model: 'early', max_tokens: 1_500 });
    for (const models of [{ demo, late: preloaded }, { demo }]) {
      writeConfig(live.dataDir, { models });
      await live.server.reload();
    }
    await live.until('worker_exit', ({ worker }) => worker.startsWith('late#'));
    expect(live.workerPids()).toContain(pid);
    expect((await running.reply).text).toMatch(/data: \[DONE\]\n\n$/);
    await live.until('worker_exit', ({ worker }) => worker.startsWith('early#'));
    expect(live.workerPids()).toHaveLength(1);
  });

  test.each([
    ['invalid JSON', '{"models": {', /is not valid JSON/],
    ['a wrong value', { models: { demo: { ...demo, slots: 0 } } }, /models\.demo\.slots/],
    ['an unknown field', { models: { demo: { ...demo, apiKey: 'x' } } }, /models\.demo\.apiKey/],
    [
      'a group with an unknown member',
      { models: { demo }, groups: { g: { members: ['nobody'] } } },
      /groups\.g\.members\.0/,
    ],
    ['a model that does not exist', { models: { demo: { path: 'nowhere.gguf' } } }, /models\.demo\.path/],
  ])('%s in the file changes nothing and is logged with the reason', async (_name, config, reason) => {
    const ids = await modelIds();
    const pids = live.workerPids();
    const refused = await rewrite(config, 'config_refused');
    expect(refused.reason).toMatch(/^lmserv\.config\.json: /);
    expect(refused.reason).toMatch(reason);
    expect(await modelIds()).toEqual(ids);
    expect(live.workerPids()).toEqual(pids);
    expect((await chat('demo')).status).toBe(200);
  });

  test('aliases and prices change without a new worker', async () => {
    const pids = live.workerPids();
    await rewrite({
      models: { demo: { ...demo, aliases: ['nickname'], price: { prompt: 1, completion: 1 } } },
    });
    expect((await chat('nickname')).status).toBe(200);
    expect(live.workerPids()).toEqual(pids);
  });

  test('reload() applies the file at once', async () => {
    writeConfig(live.dataDir, { models: { demo: { ...demo, aliases: ['at-once'] } } });
    await live.server.reload();
    expect((await chat('at-once')).status).toBe(200);
  });
});

describe('the key file', () => {
  test('an added key works, and a revoked one is 401', async () => {
    const key = await newKey({ name: 'third' });
    expect((await chat('demo', key)).status).toBe(200);
    expect((await chat('demo', second)).status).toBe(200);
    const again = live.next('keys_reloaded');
    await revokeKey(keysFile, 'third');
    await again;
    const reply = await chat('demo', key);
    expect(reply.status).toBe(401);
    expect(json(reply).error.message).toBe('Bad API key');
    expect((await chat('demo', second)).status).toBe(200);
  });

  test('a stream continues when its key is revoked', async () => {
    const key = await newKey({ name: 'leaving' });
    const running = await begun(live, CHAT, { ...ENDLESS_CHAT, max_tokens: 400 }, { 'X-API-Key': key });
    await revokeKey(keysFile, 'leaving');
    await live.server.reload();
    expect((await chat('demo', key)).status).toBe(401);
    expect((await running.reply).text).toMatch(/data: \[DONE\]\n\n$/);
  });

  test('an invalid file changes nothing and is logged with the reason but not its contents', async () => {
    const broken = join(folder, 'own-keys.json');
    const own = await addKey(broken, { name: 'own' });
    const server = await new LiveServer({ API_KEYS_FILE: broken }).start();
    try {
      const refused = server.next('keys_refused');
      writeFileSync(broken, '{"keys": [{"name": "SECRET-WORD"');
      expect((await refused).reason).toMatch(/own-keys\.json/);
      const body = { prompt: 'Hello', max_tokens: 1 };
      expect((await post(server, '/chat', body, { 'X-API-Key': own.key })).status).toBe(200);
      expect(JSON.stringify(server.lines)).not.toContain('SECRET-WORD');
    } finally {
      await server.stop();
    }
  });
});

describe('budgets', () => {
  /** Seconds until the end of the UTC month: at most 31 days. */
  const MAX_SECONDS = 31 * 86_400;

  const expectExceeded = (reply: Reply): void => {
    expect(reply.status).toBe(429);
    expect(json(reply).error).toMatchObject({ code: 'budget_exceeded', type: 'insufficient_quota' });
    const seconds = Number(reply.headers['retry-after']);
    expect(seconds).toBeGreaterThan(0);
    expect(seconds).toBeLessThanOrEqual(MAX_SECONDS);
  };

  test.each(['dayTokens', 'monthTokens'])(
    'a tenant’s %s is set, reached and raised while the server runs',
    async (limit) => {
      const tenant = `thrifty-${limit}`;
      const config = (tokens: number) => ({
        models: { demo },
        tenants: { [tenant]: { budget: { [limit]: tokens } } },
      });
      const complete = () => ask('/complete', { ...brief, model: 'demo', tenant_id: tenant });
      await rewrite(config(5));
      expect((await complete()).status).toBe(200);
      expectExceeded(await complete());
      expect((await chat('demo')).status).toBe(200);
      await rewrite(config(1_000_000));
      expect((await complete()).status).toBe(200);
    },
  );

  test('apply in the currency of the prices', async () => {
    const priced = { ...demo, price: { prompt: 1, completion: 1 } };
    await rewrite({ models: { demo: priced }, tenants: { rich: { budget: { day: 0.001 } } } });
    const complete = () => ask('/complete', { ...brief, model: 'demo', tenant_id: 'rich' });
    expect((await complete()).status).toBe(200);
    expectExceeded(await complete());
  });

  test('apply to a single key', async () => {
    const key = await newKey({ name: 'poor', budget: { dayTokens: 1 } });
    expect((await chat('demo', key)).status).toBe(200);
    expectExceeded(await chat('demo', key));
    expectExceeded(await ask('/chat', { prompt: 'Hello' }, key));
  });
});

test('SIGHUP reloads the process that the command line started', async () => {
  const config = writeConfig(folder, { models: { demo } });
  const server = await LiveProcess.start(folder, { LMSERV_CONFIG: config });
  try {
    // The file is the same, so it is the signal that does it.
    const reloaded = server.next('config_reloaded');
    server.signal('SIGHUP');
    await reloaded;
    expect((await get(`${server.url}/health`)).text).toBe('ok – workers idle: 1');
    expect(server.logged('worker_spawn')).toHaveLength(1);
  } finally {
    await server.kill();
  }
});

test('a storm of signals and rewrites drops no stream, starts no worker and applies the last version', async () => {
  const version = (alias: string) => ({ models: { demo: { ...demo, slots: 3, aliases: [alias] } } });
  const config = writeConfig(folder, version('first'));
  const server = await LiveProcess.start(folder, { LMSERV_CONFIG: config });
  try {
    const body = { ...ENDLESS_CHAT, max_tokens: 500 };
    const streams = await Promise.all([1, 2, 3].map(() => begun(server, CHAT, body)));
    for (let count = 0; count < 100; count += 1) {
      for (let signals = 0; signals < 10; signals += 1) server.signal('SIGHUP');
      writeFileSync(config, count % 2 === 0 ? '{"models": {' : JSON.stringify(version(`version-${count}`)));
      expect((await get(`${server.url}/health`)).status).toBe(200);
    }
    const replies = await Promise.all(streams.map((stream) => stream.reply));
    for (const reply of replies)
      expect(reply.text).toMatch(/"finish_reason":"length"[\s\S]*data: \[DONE\]\n\n$/);
    while ((await post(server, CHAT, { ...brief, model: 'version-99' })).status !== 200);
    expect(server.logged('worker_spawn')).toHaveLength(1);
    expect(server.logged('worker_exit')).toEqual([]);
  } finally {
    await server.kill();
  }
});
