import { join } from 'node:path';
import { addKey } from '../../src/accounts/keys/manage.js';
import { BadRemote } from '../support/bad-remote.js';
import { chunkTexts, get, json, lines, outcome, refusal, type Reply } from '../support/exchange.js';
import { newFolder } from '../support/folder.js';
import { demoModel, LIVE_KEY, LiveServer, writeConfig } from '../support/live.js';
import { begun, CHAT, DISH, killWorkers, messages, post, user } from './requests.js';

/** LMServ as Konstruct's client uses its pool: no key, `Accept: *\/*`, the routes it knows. On real llama.cpp. */

const headers = { Accept: '*/*', 'User-Agent': 'python-httpx/0.27.0' };
const acme = { messages, tenant_id: 'acme' };
const quality = { model: 'quality', messages, temperature: 0 };
const PRICE = { prompt: 0.5, completion: 2 };

let live: LiveServer;
let remote: BadRemote;
const keysFile = join(newFolder(), 'keys.json');
const keys: Record<string, string> = {};

beforeAll(async () => {
  remote = await new BadRemote().start();
  keys.acme = (await addKey(keysFile, { name: 'acme-key', tenants: ['acme'] })).key;
  keys.admin = (await addKey(keysFile, { name: 'boss', admin: true })).key;
  const retries = { attempts: 0 };
  const bad = (fault: 'refuses' | 'fails') => ({ baseUrl: remote.url(fault), model: 'x', retries });
  live = await new LiveServer((folder) => ({
    LMSERV_CONFIG: writeConfig(folder, {
      models: { demo: demoModel({ slots: 2, price: PRICE }) },
      remotes: { refuses: bad('refuses'), fails: bad('fails') },
      groups: {
        quality: { members: ['demo'] },
        fast: { members: ['refuses', 'demo'] },
        broken: { members: ['refuses'], fallback: ['worse'] },
        worse: { members: ['fails'] },
        rescued: { members: ['refuses', 'fails'], fallback: ['quality'] },
      },
      tenants: { frugal: { budget: { dayTokens: 10 } } },
    }),
    API_KEYS_FILE: keysFile,
    KEYLESS_NETWORKS: '127.0.0.0/8',
    HEALTH_FORMAT: 'json',
    // Some tests are about a reply that breaks.
    REPLY_RESUME: 'off',
  })).start();
});

afterAll(async () => {
  await live.stop();
  await remote.stop();
});

const complete = (body: object, more: Record<string, string> = {}): Promise<Reply> =>
  post(live, '/complete', body, { ...headers, ...more });

const completeStream = (body: object): Promise<Reply> => post(live, '/complete/stream', body, headers);

test('health is JSON with status ok for a client that sends Accept */*', async () => {
  const reply = await get(`${live.url}/health`, headers);
  expect(reply.status).toBe(200);
  expect(json(reply)).toMatchObject({ status: 'ok', workers: { total: 1 }, slots: { total: 2 } });
});

describe('POST /complete', () => {
  test.each(['quality', 'fast', 'demo', 'rescued'])(
    'model %s returns the content, the requested model and the usage',
    async (model) => {
      const reply = await complete({ ...acme, model, temperature: 0 });
      expect(reply.status).toBe(200);
      expect(json(reply)).toEqual({
        content: expect.stringMatching(/ceviche/i),
        model,
        usage: { prompt_tokens: expect.any(Number), completion_tokens: expect.any(Number) },
        tool_calls: [],
        finish_reason: 'stop',
      });
    },
  );

  test('the usage is the real count', async () => {
    const asked = { messages, temperature: 0, max_tokens: 7 };
    const { usage } = json(await complete({ ...asked, model: 'quality', tenant_id: 'acme' }));
    const { prompt_tokens, completion_tokens } = json(await post(live, CHAT, asked, headers)).usage;
    expect(usage).toEqual({ prompt_tokens, completion_tokens });
    expect(completion_tokens).toBe(7);
    expect(prompt_tokens).toBeGreaterThan(5);
  });

  test('a conversation of several turns with a system message is served', async () => {
    const system = { role: 'system', content: 'You are a helpful assistant.' };
    const turns = [system, ...messages, { role: 'assistant', content: 'Ceviche.' }, ...messages];
    const reply = await complete({ ...quality, messages: turns, tenant_id: 'acme' });
    expect(json(reply).content.length).toBeGreaterThan(0);
  });

  test('with tools exactly one of content and tool_calls is filled', async () => {
    const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
    const tools = [
      { type: 'function', function: { name: 'get_weather', description: 'weather', parameters } },
    ];
    const ask = (content: string, more = {}) =>
      complete({ ...quality, ...user(content), tenant_id: 'acme', tools, ...more });
    const called = json(await ask('What is the weather in Lima?', { tool_choice: 'required' }));
    expect(called).toMatchObject({ content: '', finish_reason: 'tool_calls' });
    expect(called.tool_calls).toEqual([
      {
        id: expect.stringMatching(/./),
        type: 'function',
        function: { name: 'get_weather', arguments: expect.any(String) },
      },
    ]);
    expect(Object.keys(JSON.parse(called.tool_calls[0].function.arguments))).toEqual(['city']);
    const answered = json(await ask(DISH));
    expect(answered).toMatchObject({ content: expect.stringMatching(/ceviche/i), tool_calls: [] });
  });

  test.each(['nobody', 'broken', 'refuses'])('model %s is 503 with the fixed message', async (model) => {
    const reply = await complete({ ...acme, model });
    expect(outcome(reply)).toEqual({ status: 503, error: 'All providers unavailable' });
    expect(reply.headers['x-request-id']).toMatch(/./);
    expect(Number(reply.headers['retry-after'] ?? 1)).toBeGreaterThan(0);
  });

  test.each([
    ['no model', acme, 'model'],
    ['no messages', { model: 'quality', tenant_id: 'acme' }, 'messages'],
    ['a tenant_id that is a number', { ...quality, tenant_id: 7 }, 'tenant_id'],
    ['a temperature out of range', { ...quality, temperature: 3 }, 'temperature'],
  ])('%s is 400 naming the field', async (_name, body, param) => {
    const reply = await complete(body);
    expect(reply.status).toBe(400);
    expect(json(reply).error).toMatchObject({ type: 'invalid_request_error', param, code: 'invalid_value' });
  });

  test('a used-up budget is 429 budget_exceeded with Retry-After on both routes', async () => {
    const body = { ...quality, tenant_id: 'frugal' };
    expect((await complete(body)).status).toBe(200);
    for (const reply of [await complete(body), await completeStream(body)]) {
      expect(refusal(reply)).toMatchObject({ status: 429, code: 'budget_exceeded' });
      expect(Number(reply.headers['retry-after'])).toBeGreaterThan(0);
    }
  });
});

describe('POST /complete/stream', () => {
  test('the reply is chunk lines and then done', async () => {
    const body = { ...acme, model: 'fast', temperature: 0 };
    const reply = await completeStream(body);
    expect(reply.status).toBe(200);
    expect(reply.headers['content-type']).toBe('application/x-ndjson');
    expect(reply.text.endsWith('\n')).toBe(true);
    const all = lines(reply);
    expect(all.at(-1)).toEqual({ type: 'done' });
    expect(all.slice(0, -1).every(({ type, text }) => type === 'chunk' && text !== '')).toBe(true);
    expect(all.length).toBeGreaterThan(4);
    // Each line is sent at once.
    expect(reply.chunks.length).toBeGreaterThan(4);
    expect(chunkTexts(reply).join('')).toBe(json(await complete(body)).content);
  });

  test.each(['nobody', 'broken'])('model %s is one error line with status 200', async (model) => {
    const reply = await completeStream({ ...acme, model });
    expect(reply.status).toBe(200);
    expect(lines(reply)).toEqual([{ type: 'error', message: 'All providers unavailable' }]);
  });

  test('tools are refused', async () => {
    const tools = [{ type: 'function', function: { name: 'f', parameters: { type: 'object' } } }];
    const reply = await completeStream({ ...quality, tools });
    expect(reply.status).toBe(400);
    expect(json(reply).error.param).toBe('tools');
  });

  test('a worker that dies in the middle causes an error line, no done and no other backend', async () => {
    const body = { ...acme, model: 'rescued', ignore_eos: true, max_tokens: 3000 };
    const running = await begun(live, '/complete/stream', body, headers);
    killWorkers(live);
    const reply = await running.reply;
    const all = lines(reply);
    expect(all.at(-1)).toEqual({ type: 'error', message: 'All providers unavailable' });
    expect(all.filter(({ type }) => type !== 'chunk')).toHaveLength(1);
    expect(reply.cut).toBe(false);
    // The pool mends itself.
    await live.next('worker_ready');
    expect(json(await complete({ ...quality, tenant_id: 'acme' })).content).toMatch(/ceviche/i);
  });
});

describe('usage', () => {
  const brief = { ...quality, max_tokens: 1 };
  const as = (key: string) => ({ Authorization: `Bearer ${key}` });
  const read = (query: string, key?: string) =>
    get(`${live.url}/usage${query}`, { ...headers, ...(key === undefined ? {} : { 'X-API-Key': key }) });
  const tenantsOf = async (key: string): Promise<string[]> =>
    json(await read('', key)).usage.map(({ tenant }: { tenant: string }) => tenant);

  test('is counted per tenant, model and day, with its cost', async () => {
    const { usage } = json(await complete({ ...quality, tenant_id: 'counted' }));
    await completeStream({ ...quality, model: 'fast', tenant_id: 'counted' });
    const day = new Date().toISOString().slice(0, 10);
    const reply = await read(`?tenant=counted&from=${day}&to=${day}`);
    expect(reply.status).toBe(200);
    const prompt = 2 * usage.prompt_tokens;
    const completion = 2 * usage.completion_tokens;
    const row = {
      ...{ requests: 2, prompt_tokens: prompt, completion_tokens: completion },
      cost: expect.closeTo((prompt * PRICE.prompt + completion * PRICE.completion) / 1000, 9),
      ...{ cancelled: 0, broken: 0, refused: 0 },
    };
    expect(json(reply)).toEqual({ usage: [{ tenant: 'counted', model: 'demo', day, ...row }], total: row });
    expect(json(await read('?tenant=counted&to=2000-01-01'))).toMatchObject({
      usage: [],
      total: { requests: 0 },
    });
  });

  test('is available as CSV', async () => {
    await complete({ ...brief, tenant_id: 'csv' });
    const reply = await read('?tenant=csv&format=csv');
    expect(reply.headers['content-type']).toMatch(/^text\/csv/);
    const [head, row] = reply.text.split('\r\n');
    expect(head).toBe(
      'tenant,model,day,requests,prompt_tokens,completion_tokens,cost,cancelled,broken,refused',
    );
    expect(row).toMatch(/^csv,demo,\d{4}-\d\d-\d\d,1,\d+,1,[\d.]+,0,0,0$/);
  });

  test('a key lists the tenants it may charge and read, and only an admin reads all', async () => {
    expect((await complete({ ...brief, tenant_id: 'acme' }, as(keys.acme!))).status).toBe(200);
    const foreign = await complete({ ...brief, tenant_id: 'counted' }, as(keys.acme!));
    expect(refusal(foreign)).toMatchObject({ status: 403, code: 'forbidden', param: 'tenant_id' });
    expect((await read('?tenant=counted', keys.acme)).status).toBe(403);
    expect(new Set(await tenantsOf(keys.acme!))).toEqual(new Set(['acme']));
    expect(await tenantsOf(keys.admin!)).toEqual(expect.arrayContaining(['acme', 'csv', 'frugal']));
  });

  test('is charged to the key’s own name without a tenant_id', async () => {
    expect((await complete(brief, as(keys.admin!))).status).toBe(200);
    expect(json(await read('?tenant=boss', keys.admin)).total.requests).toBe(1);
  });
});

test('log lines contain no key, prompt or reply', () => {
  const log = JSON.stringify(live.lines);
  expect(live.logged('request').length).toBeGreaterThan(20);
  for (const secret of [keys.acme!, keys.admin!, LIVE_KEY, 'Peruvian', 'eviche'])
    expect(log).not.toContain(secret);
});
