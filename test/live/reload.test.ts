import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { addKey, revokeKey } from '../../src/accounts/keys/manage.js';
import { exchange, Exchange, get, json, type Reply } from '../support/exchange.js';
import { demoModel, LIVE_KEY, LiveProcess, LiveServer, newFolder, writeConfig } from '../support/live.js';

/** Models, groups, keys and budgets change while the server serves. On real llama.cpp. */

const messages = [{ role: 'user', content: 'Name a famous Peruvian dish' }];
const brief = { messages, temperature: 0, max_tokens: 2 };
const demo = demoModel();

/** One server that several tests put another configuration into. */
let live: LiveServer;
let keysFolder: string;
let keysFile: string;
let second: string;

beforeAll(async () => {
  keysFolder = newFolder();
  keysFile = join(keysFolder, 'keys.json');
  second = (await addKey(keysFile, { name: 'second' })).key;
  live = await new LiveServer((folder) => ({
    LMSERV_CONFIG: writeConfig(folder, { models: { demo } }),
    API_KEYS_FILE: keysFile,
  })).start();
});

afterAll(async () => {
  await live.stop();
  rmSync(keysFolder, { recursive: true });
});

const ask = (path: string, body: object, key = LIVE_KEY): Promise<Reply> =>
  exchange(live.url + path, { headers: { 'X-API-Key': key }, body });

const chat = (model: string, key?: string): Promise<Reply> =>
  ask('/v1/chat/completions', { ...brief, model }, key);

/** Writes the file and waits until the server, which watches it, has taken or refused it. */
async function rewrite(config: object | string, event = 'config_reloaded'): Promise<any> {
  const seen = live.next(event);
  writeConfig(live.dataDir, config);
  return seen;
}

const modelIds = async (): Promise<string[]> =>
  json(await get(`${live.url}/v1/models`, { 'X-API-Key': LIVE_KEY })).data.map(
    ({ id }: { id: string }) => id,
  );

describe('the configuration file', () => {
  test('a model and a group are added while the others keep serving', async () => {
    const pids = live.workerPids();
    expect((await chat('team')).status).toBe(404);
    await rewrite({ models: { demo, other: demo }, groups: { team: { members: ['other', 'demo'] } } });
    await live.until('worker_ready', ({ worker }) => worker.startsWith('other#'));
    expect((await chat('other')).status).toBe(200);
    expect(json(await chat('team')).model).toBe('other');
    expect(await modelIds()).toEqual(expect.arrayContaining(['demo', 'other', 'team']));
    expect(live.workerPids()).toEqual(expect.arrayContaining(pids));
    expect(live.workerPids()).toHaveLength(2);
  });

  test('a removed model finishes its running stream before its worker ends', async () => {
    const body = { model: 'other', messages, ignore_eos: true, max_tokens: 600, stream: true };
    const running = new Exchange(`${live.url}/v1/chat/completions`, {
      headers: { 'X-API-Key': LIVE_KEY },
      body,
    });
    await running.firstChunk();
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
    await rewrite({ models: { demo, early: demo, late: demo } });
    const { pid } = await live.until('worker_spawn', ({ worker }) => worker.startsWith('early#'));
    const body = { model: 'early', messages, ignore_eos: true, max_tokens: 1500, stream: true };
    const url = `${live.url}/v1/chat/completions`;
    const running = new Exchange(url, { headers: { 'X-API-Key': LIVE_KEY }, body });
    await running.firstChunk();
    for (const models of [{ demo, late: demo }, { demo }]) {
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
    ['no JSON', '{"models": {', /is not valid JSON/],
    ['a wrong value', { models: { demo: { ...demo, slots: 0 } } }, /models\.demo\.slots/],
    ['a field it does not have', { models: { demo: { ...demo, apiKey: 'x' } } }, /models\.demo\.apiKey/],
    [
      'a group of nobody',
      { models: { demo }, groups: { g: { members: ['nobody'] } } },
      /groups\.g\.members\.0/,
    ],
    ['a file that is not there', { models: { demo: { path: 'nowhere.gguf' } } }, /models\.demo\.path/],
  ])('%s changes nothing and is logged with the reason', async (_name, config, reason) => {
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
    const reloaded = live.next('keys_reloaded');
    const { key } = await addKey(keysFile, { name: 'third' });
    await reloaded;
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
    const reloaded = live.next('keys_reloaded');
    const { key } = await addKey(keysFile, { name: 'leaving' });
    await reloaded;
    const body = { messages, ignore_eos: true, max_tokens: 400, stream: true };
    const running = new Exchange(`${live.url}/v1/chat/completions`, { headers: { 'X-API-Key': key }, body });
    await running.firstChunk();
    await revokeKey(keysFile, 'leaving');
    await live.server.reload();
    expect((await chat('demo', key)).status).toBe(401);
    expect((await running.reply).text).toMatch(/data: \[DONE\]\n\n$/);
  });

  test('an invalid file changes nothing and is logged with the reason but not its contents', async () => {
    const broken = join(newFolder(), 'keys.json');
    const own = await addKey(broken, { name: 'own' });
    const server = await new LiveServer({ API_KEYS_FILE: broken }).start();
    try {
      const refused = server.next('keys_refused');
      writeFileSync(broken, '{"keys": [{"name": "SECRET-WORD"');
      expect((await refused).reason).toMatch(/keys\.json/);
      const reply = await exchange(`${server.url}/chat`, {
        headers: { 'X-API-Key': own.key },
        body: { prompt: 'Hello', max_tokens: 1 },
      });
      expect(reply.status).toBe(200);
      expect(JSON.stringify(server.lines)).not.toContain('SECRET-WORD');
    } finally {
      await server.stop();
      rmSync(join(broken, '..'), { recursive: true });
    }
  });
});

describe('budgets', () => {
  /** Seconds until the end of the UTC month are more than this at no time: 31 days. */
  const MOST = 31 * 86_400;

  const expectExceeded = (reply: Reply): void => {
    expect(reply.status).toBe(429);
    expect(json(reply).error).toMatchObject({ code: 'budget_exceeded', type: 'insufficient_quota' });
    const seconds = Number(reply.headers['retry-after']);
    expect(seconds).toBeGreaterThan(0);
    expect(seconds).toBeLessThanOrEqual(MOST);
  };

  test.each(['dayTokens', 'monthTokens'])(
    'a tenant’s %s, set, reached and raised while it runs',
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
    const reloaded = live.next('keys_reloaded');
    const { key } = await addKey(keysFile, { name: 'poor', budget: { dayTokens: 1 } });
    await reloaded;
    expect((await chat('demo', key)).status).toBe(200);
    expectExceeded(await chat('demo', key));
    expectExceeded(await ask('/chat', { prompt: 'Hello' }, key));
  });
});

test('SIGHUP reloads the process that the command line started', async () => {
  const folder = newFolder();
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
    rmSync(folder, { recursive: true });
  }
});

test('a storm of signals and rewrites drops no stream, starts no worker and applies the last version', async () => {
  const folder = newFolder();
  const version = (alias: string) => ({ models: { demo: { ...demo, slots: 3, aliases: [alias] } } });
  const config = writeConfig(folder, version('first'));
  const server = await LiveProcess.start(folder, { LMSERV_CONFIG: config });
  const headers = { 'X-API-Key': LIVE_KEY };
  const url = `${server.url}/v1/chat/completions`;
  const body = { messages, ignore_eos: true, max_tokens: 500, stream: true };
  try {
    const streams = [1, 2, 3].map(() => new Exchange(url, { headers, body }));
    await Promise.all(streams.map((stream) => stream.firstChunk()));
    for (let count = 0; count < 100; count += 1) {
      for (let signals = 0; signals < 10; signals += 1) server.signal('SIGHUP');
      writeFileSync(config, count % 2 === 0 ? '{"models": {' : JSON.stringify(version(`version-${count}`)));
      expect((await get(`${server.url}/health`)).status).toBe(200);
    }
    const replies = await Promise.all(streams.map((stream) => stream.reply));
    for (const reply of replies)
      expect(reply.text).toMatch(/"finish_reason":"length"[\s\S]*data: \[DONE\]\n\n$/);
    const status = async () =>
      (await exchange(url, { headers, body: { ...brief, model: 'version-99' } })).status;
    while ((await status()) !== 200);
    expect(server.logged('worker_spawn')).toHaveLength(1);
    expect(server.logged('worker_exit')).toEqual([]);
  } finally {
    await server.kill();
    rmSync(folder, { recursive: true });
  }
});
