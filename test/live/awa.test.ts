import * as library from '../../src/client/index.js';
import { STUB_REPLY } from '../../src/client/providers.js';
import { exchange, get, json, outcome, refusal, type Reply } from '../support/exchange.js';
import { demoModel, ENDLESS, killWorkersUntil, LIVE_KEY, LiveServer, writeConfig } from '../support/live.js';
import { CHAT, DISH as dish, killWorkers, messages } from './requests.js';

/** LMServ as AWA's clients use it: Bearer, `/llm` in both forms, the OpenAI routes, the client library. On real llama.cpp. */

const headers = { Accept: '*/*', Authorization: `Bearer ${LIVE_KEY}` };
/** Nobody listens there. */
const DEAD = 'http://127.0.0.1:1';

const cloud = { model: 'lmserv-demo', kind: 'llama', apiKeyEnv: 'LMSERV_TEST_CLOUD_KEY' };

let live: LiveServer;
/** Without a key, and with a remote server that stands for the cloud: the first one. */
let open: LiveServer;
/** Its replies do not end by themselves. */
let endless: LiveServer;

beforeAll(async () => {
  process.env.LMSERV_TEST_CLOUD_KEY = LIVE_KEY;
  live = await new LiveServer({ HEALTH_FORMAT: 'json', LLM_SLOTS: '2', REPLY_RESUME: 'off' }).start();
  endless = await new LiveServer({ LLM_EXTRA_ARGS: ENDLESS, REPLY_RESUME: 'off' }).start();
  open = await new LiveServer(
    (folder) => ({
      LMSERV_CONFIG: writeConfig(folder, {
        models: { demo: demoModel() },
        remotes: { 'gpt-4o-mini': { ...cloud, baseUrl: live.url } },
      }),
    }),
    { apiKey: '' },
  ).start();
});

afterAll(async () => {
  await Promise.all([live.stop(), open.stop(), endless.stop()]);
  delete process.env.LMSERV_TEST_CLOUD_KEY;
});

const llm = (body: object | string, server = live): Promise<Reply> =>
  exchange(`${server.url}/llm`, { headers, body });

test('health is JSON with status ok for a client that sends Accept */*', async () => {
  const reply = await get(`${live.url}/health`, headers);
  expect(reply.status).toBe(200);
  expect(json(reply).status).toBe('ok');
});

test('Bearer is required, and is optional where API_KEY is empty', async () => {
  const body = { prompt: 'Once upon a time', max_tokens: 1 };
  const without = await exchange(`${live.url}/llm`, { body });
  expect(refusal(without)).toMatchObject({ status: 401, message: 'Bad API key', code: 'invalid_api_key' });
  expect(
    (await exchange(`${live.url}/llm`, { body, headers: { Authorization: 'Bearer wrong' } })).status,
  ).toBe(401);
  for (const more of [{}, headers]) {
    expect((await exchange(`${open.url}/llm`, { body, headers: more })).status).toBe(200);
    expect((await get(`${open.url}/v1/models`, more)).status).toBe(200);
  }
});

test('GET /v1/models and POST /v1/chat/completions as OpenAI has them', async () => {
  const models = json(await get(`${live.url}/v1/models`, headers));
  expect(models).toMatchObject({ object: 'list' });
  expect(models.data[0]).toMatchObject({
    ...{ id: 'lmserv-demo', object: 'model', created: expect.any(Number), owned_by: 'lmserv' },
  });
  const body = { model: 'default', messages, temperature: 0 };
  const reply = json(await exchange(live.url + CHAT, { headers, body }));
  expect(reply).toMatchObject({ object: 'chat.completion', choices: [{ finish_reason: 'stop' }] });
  expect(reply.choices[0].message.content).toMatch(/ceviche/i);
});

describe('the prompt form of POST /llm', () => {
  test('continues the raw prompt, no chat template', async () => {
    const body = { prompt: 'Once upon a time', max_tokens: 12, temperature: 0 };
    const reply = await llm(body);
    expect(reply.status).toBe(200);
    expect(json(reply)).toEqual({ completion: expect.stringMatching(/./), finish_reason: 'length' });
    const raw = json(await exchange(`${live.url}/v1/completions`, { headers, body }));
    expect(json(reply).completion).toBe(raw.choices[0].text);
  });

  test('a prompt alone is served with the defaults', async () => {
    expect(json(await llm({ prompt: 'Once upon a time' }))).toMatchObject({ completion: expect.any(String) });
  });

  test.each([
    ['no prompt', {}, 'prompt'],
    ['max_tokens 0', { prompt: 'x', max_tokens: 0 }, 'max_tokens'],
    ['a temperature out of range', { prompt: 'x', temperature: -1 }, 'temperature'],
  ])('%s: 400 naming the field', async (_name, body, param) => {
    expect(refusal(await llm(body))).toMatchObject({ status: 400, code: 'invalid_value', param });
  });

  test('a generation that fails is 500 with what the worker wrote, no path and no prompt in it', async () => {
    const prompt = 'Once upon a time there was a canary in a coal mine';
    const reply = await killWorkersUntil(endless, llm({ prompt, max_tokens: 3000 }, endless));
    expect(reply.status).toBe(500);
    const { error } = json(reply);
    expect(error).toMatchObject({ code: 'generation_failed', stderr: expect.any(String) });
    expect(Buffer.byteLength(error.stderr)).toBeLessThanOrEqual(2048);
    expect(reply.text).not.toContain('canary');
    expect(error.stderr).not.toMatch(/\/\w+\/\w+/);
    await endless.untilReady(({ workers }) => workers.idle === 1);
  });

  test('every request is logged with its latency', async () => {
    const logged = live.next('request');
    const reply = await llm({ prompt: 'Once upon a time', max_tokens: 2 });
    expect(await logged).toMatchObject({
      ...{ route: '/llm', status: 200, ms: expect.any(Number), requestId: reply.headers['x-request-id'] },
    });
  });
});

describe('the task form of POST /llm', () => {
  /** As its present client sends it. */
  const sent = {
    ...{ provider: 'local', model: 'gpt-4o-mini', temperature: 0, max_tokens: 800 },
    ...{ schema: null, priority: null },
  };

  test('chat_completion: the text; an unknown model is the default one', async () => {
    const reply = await llm({ ...sent, task: 'chat_completion', input: { prompt: dish } });
    expect(reply.status).toBe(200);
    expect(json(reply)).toEqual({
      ...{ task: 'chat_completion', provider: 'local', finish_reason: 'stop' },
      result: expect.stringMatching(/ceviche/i),
    });
  });

  test('without its optional fields it is local, temperature 0', async () => {
    const body = { task: 'chat_completion', input: { prompt: dish } };
    const [first, second] = [await llm(body), await llm(body)];
    expect(json(first)).toMatchObject({ provider: 'local', result: expect.stringMatching(/ceviche/i) });
    expect(second.text).toBe(first.text);
  });

  const closed = (properties: object) => ({
    ...{ type: 'object', properties, required: Object.keys(properties), additionalProperties: false },
  });
  const schema = closed({ category: { enum: ['spam', 'ham'] } });

  test.each(['high', 'batch', null])(
    'classify_email with a schema: the parsed object, priority %s',
    async (priority) => {
      const input = { subject: 'You have won', body: 'Send us your PIN' };
      const reply = await llm({ ...sent, task: 'classify_email', input, schema, priority });
      expect(outcome(reply)).toMatchObject({ status: 200, task: 'classify_email', provider: 'local' });
      expect(['spam', 'ham']).toContain(json(reply).result.category);
    },
  );

  test('parse_price_list with a schema', async () => {
    const input = { text: 'Widget 3.50, Gadget 7' };
    const prices = closed({ currency: { enum: ['EUR', 'USD'] }, complete: { type: 'boolean' } });
    const reply = await llm({ ...sent, task: 'parse_price_list', input, schema: prices });
    const result = { currency: expect.stringMatching(/^(EUR|USD)$/), complete: expect.any(Boolean) };
    expect(outcome(reply)).toMatchObject({ status: 200, result });
    expect(Object.keys(json(reply).result)).toHaveLength(2);
  });

  test('without a schema the result is any object, or 502 when the model did not finish', async () => {
    const input = { text: 'Widget 3.50' };
    const reply = await llm({ ...sent, task: 'parse_price_list', input, max_tokens: 1 });
    expect(refusal(reply)).toMatchObject({ status: 502, code: 'invalid_response' });
  });

  test('a result that was cut and does not fit the schema is 502 invalid_response', async () => {
    const reply = await llm({ ...sent, task: 'classify_email', input: {}, schema, max_tokens: 2 });
    expect(reply.status).toBe(502);
    expect(json(reply).error).toMatchObject({
      code: 'invalid_response',
      message: expect.stringMatching(/max_tokens/),
    });
  });

  test('an unknown task is 400', async () => {
    const reply = await llm({ ...sent, task: 'sing', input: {} });
    expect(refusal(reply)).toMatchObject({ status: 400, code: 'invalid_value', param: 'task' });
  });

  test('provider cloud returns its reply, or 500 configuration_error if there is none', async () => {
    const body = { ...sent, task: 'chat_completion', input: { prompt: dish }, provider: 'cloud' };
    expect(refusal(await llm(body))).toMatchObject({ status: 500, code: 'configuration_error' });
    const before = live.logged('request').length;
    expect(json(await llm(body, open))).toMatchObject({
      provider: 'cloud',
      result: expect.stringMatching(/ceviche/i),
    });
    expect(live.logged('request')).toHaveLength(before + 1);
  });
});

describe('the client library', () => {
  const warnings: string[] = [];
  const warn = (message: string): void => void warnings.push(message);
  const client = (options: library.ClientOptions) =>
    library.createClient({ baseUrl: live.url, apiKey: LIVE_KEY, fallback: 'none', warn, ...options });

  beforeEach(() => void warnings.splice(0));

  const texts = async (pieces: AsyncIterable<string>): Promise<string[]> => {
    const all: string[] = [];
    for await (const piece of pieces) all.push(piece);
    return all;
  };

  test.each(['lan', 'openai'] as const)('%s: generate and stream give the same reply', async (provider) => {
    const model = 'lmserv-demo';
    const whole = await client({ provider, model }).generate(dish, { temperature: 0 });
    expect(whole).toMatch(/ceviche/i);
    const pieces = await texts(client({ provider, model }).stream(dish, { temperature: 0 }));
    expect(pieces.join('')).toBe(whole);
    expect(pieces.length).toBeGreaterThan(3);
    expect(warnings).toEqual([]);
  });

  test('local: the raw prompt of /llm', async () => {
    const options = { temperature: 0, maxTokens: 12 };
    const text = await client({ provider: 'local' }).generate('Once upon a time', options);
    const raw = await llm({ prompt: 'Once upon a time', max_tokens: 12, temperature: 0 });
    expect(text).toBe(json(raw).completion);
    const own = client({ provider: 'local', baseUrl: DEAD, url: `${live.url}/llm` });
    expect((await texts(own.stream('Once upon a time', options))).join('')).toBe(text);
  });

  test('stub: no network at all', async () => {
    expect(await client({ provider: 'stub', baseUrl: DEAD }).generate(dish)).toBe(STUB_REPLY);
  });

  test.each([
    ['by default the stub', {}, STUB_REPLY],
    ['another server', { fallback: 'live' }, /ceviche/i],
  ])(
    'when the first fails the fallback replies and a warning is emitted: %s',
    async (_name, more, answer) => {
      const fallback =
        'fallback' in more ? { provider: 'lan' as const, baseUrl: live.url, apiKey: LIVE_KEY } : undefined;
      const failing = client({ baseUrl: DEAD, fallback });
      expect(await failing.generate(dish, { temperature: 0 })).toMatch(answer);
      expect((await texts(failing.stream(dish, { temperature: 0 }))).join('')).toMatch(answer);
      expect(warnings).toHaveLength(2);
      for (const warning of warnings) expect(warning).not.toContain(LIVE_KEY);
    },
  );

  test('is configured by LLM_ variables', async () => {
    const variables = {
      LLM_PROVIDER: 'lan',
      LLM_BASE_URL: live.url,
      LLM_API_KEY: LIVE_KEY,
      LLM_TIMEOUT_SECS: '60',
      LLM_PROVIDER_FALLBACK: '',
    };
    Object.assign(process.env, variables);
    try {
      expect(await library.generate(dish, { temperature: 0 })).toMatch(/ceviche/i);
      expect((await texts(library.stream(dish, { temperature: 0 }))).join('')).toMatch(/ceviche/i);
      process.env.LLM_API_KEY = '';
      await expect(library.generate(dish)).rejects.toBeInstanceOf(library.AuthenticationError);
    } finally {
      for (const name of Object.keys(variables)) delete process.env[name];
    }
  });

  test('typed errors', async () => {
    const asked = (options: library.ClientOptions, call = {}) => client(options).generate(dish, call);
    await expect(asked({ apiKey: 'wrong' })).rejects.toBeInstanceOf(library.AuthenticationError);
    await expect(asked({ baseUrl: DEAD })).rejects.toBeInstanceOf(library.ConnectionError);
    await expect(asked({ model: 'nobody' })).rejects.toMatchObject({ code: 'model_not_found', status: 404 });
    await expect(asked({}, { temperature: 9 })).rejects.toBeInstanceOf(library.BadRequestError);
  });

  test('a stream whose worker dies is a BrokenStreamError', async () => {
    const asked = client({ baseUrl: endless.url }).stream(dish, { maxTokens: 3_000 });
    const pieces = asked[Symbol.asyncIterator]();
    expect((await pieces.next()).done).toBe(false);
    killWorkers(endless);
    const rest = (async () => {
      while (!(await pieces.next()).done);
    })();
    await expect(rest).rejects.toBeInstanceOf(library.BrokenStreamError);
  });

  test('leaving the loop early stops the generation on the server', async () => {
    const cancelled = endless.until('request', (line) => line.outcome === 'cancelled');
    for await (const piece of client({ baseUrl: endless.url }).stream(dish, { maxTokens: 3_000 })) {
      expect(piece).not.toBe('');
      break;
    }
    expect(await cancelled).toMatchObject({ route: '/v1/chat/completions' });
    await endless.untilIdle();
  });

  test('the caller’s own abort passes its reason and uses no fallback', async () => {
    const reason = new Error('enough');
    const call = client({ fallback: 'stub' }).generate(dish, { signal: AbortSignal.abort(reason) });
    await expect(call).rejects.toBe(reason);
    expect(warnings).toEqual([]);
  });
});
