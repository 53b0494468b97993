import { get, json, lines, refusal, sseData, type Reply } from '../support/exchange.js';
import { ENDLESS, LIVE_KEY, LiveServer } from '../support/live.js';
import * as requests from './requests.js';
import { begun, CHAT, DISH, ENDLESS_CHAT, KEY, killWorkers, messages, user } from './requests.js';

/** The contract of LMServ's own clients, and what holds on every route. On real llama.cpp. */

const dish = { prompt: DISH, temperature: 0 };

/** Every route that generates, with a body that it takes. */
const ROUTES: [path: string, body: object][] = [
  ['/chat', dish],
  ['/llm', { prompt: 'Once upon a time', max_tokens: 4 }],
  ['/llm', { task: 'chat_completion', input: { prompt: DISH }, max_tokens: 4 }],
  ['/complete', { model: 'quality', messages, max_tokens: 4 }],
  ['/complete/stream', { model: 'fast', messages, max_tokens: 4 }],
  ['/execute', { prompt: DISH, config: { max_tokens: 4 } }],
  [CHAT, { messages, max_tokens: 4 }],
  [CHAT, { messages, max_tokens: 4, stream: true }],
  ['/v1/completions', { prompt: 'Once upon a time', max_tokens: 4 }],
];

const servers: LiveServer[] = [];
let live: LiveServer;
/** Its replies do not end by themselves. */
let endless: LiveServer;

/** A server that listens, with workers that are perhaps not ready yet. */
async function starting(env: Record<string, string> = {}): Promise<LiveServer> {
  const server = new LiveServer(env);
  servers.push(server);
  await server.server.start();
  return server;
}

async function serve(env: Record<string, string> = {}): Promise<LiveServer> {
  const server = await starting(env);
  await server.server.ready;
  return server;
}

beforeAll(async () => {
  live = await serve({ LLM_SLOTS: '2', CORS_ORIGINS: 'https://good.example', REPLY_RESUME: 'off' });
  endless = await serve({ LLM_EXTRA_ARGS: ENDLESS, REPLY_RESUME: 'off' });
});

afterAll(async () => {
  await Promise.all(servers.map((server) => server.stop()));
});

const post = (path: string, body: object | string | Buffer, server = live, headers = {}): Promise<Reply> =>
  requests.post(server, path, body, { ...KEY, ...headers });

describe('open routes', () => {
  test('GET / says that it runs', async () => {
    const reply = await get(`${live.url}/`);
    expect(reply).toMatchObject({ status: 200, text: 'LMServ is running.' });
    expect(reply.headers['content-type']).toMatch(/^text\/plain/);
  });

  test('GET /health is plain text with the number of idle workers, and busy is still ok', async () => {
    const idle = await get(`${live.url}/health`, { Accept: '*/*' });
    expect(idle).toMatchObject({ status: 200, text: 'ok – workers idle: 1' });
    const running = await begun(live, CHAT, ENDLESS_CHAT);
    expect(await get(`${live.url}/health`)).toMatchObject({ status: 200, text: 'ok – workers idle: 0' });
    running.abort();
    await live.untilIdle();
  });

  test('GET /health is JSON with Accept: application/json, and GET /ready always', async () => {
    const body = {
      status: 'ok',
      workers: { total: 1, idle: 1, busy: 0, starting: 0, dead: 0 },
      slots: { total: 2, idle: 2 },
      queue: { waiting: 0, limit: 64 },
      model: 'lmserv-demo',
      models: { loaded: 1, loading: 0, unloaded: 0, failed: 0 },
      version: expect.stringMatching(/^\d+\.\d+\.\d+/),
    };
    expect(json(await get(`${live.url}/health`, { Accept: 'application/json' }))).toEqual(body);
    expect(json(await get(`${live.url}/ready`, { Accept: '*/*' }))).toEqual(body);
  });

  test('GET /health is JSON where HEALTH_FORMAT says so, 503 starting before the first worker is ready', async () => {
    const server = await starting({ HEALTH_FORMAT: 'json' });
    const [early, chat] = await Promise.all([
      get(`${server.url}/health`, { Accept: '*/*' }),
      post('/chat', dish, server),
    ]);
    expect(early.status).toBe(503);
    expect(json(early)).toMatchObject({ status: 'starting', workers: { total: 1, idle: 0, starting: 1 } });
    expect(refusal(chat)).toMatchObject({ status: 503, message: 'Server is starting up', code: 'starting' });
    for (const { headers } of [early, chat]) expect(Number(headers['retry-after'])).toBeGreaterThan(0);
    await server.server.ready;
    expect(json(await get(`${server.url}/health`, { Accept: '*/*' }))).toMatchObject({ status: 'ok' });
  });

  test('503 unavailable when no worker can be started', async () => {
    const server = await starting({ LLM_EXTRA_ARGS: '--no-such-argument' });
    await server.untilReady(({ status }) => status === 'unavailable');
    expect((await get(`${server.url}/health`)).status).toBe(503);
    const chat = await post('/chat', dish, server);
    expect(refusal(chat)).toMatchObject({ status: 503, code: 'unavailable' });
    expect(Number(chat.headers['retry-after'])).toBeGreaterThan(0);
  });

  test('503 draining while it stops; open streams finish', async () => {
    const server = await serve();
    const body = { ...ENDLESS_CHAT, max_tokens: 400, stream_options: { include_usage: true } };
    const running = await begun(server, CHAT, body);
    const stopped = server.server.stop();
    expect(json(await get(`${server.url}/ready`))).toMatchObject({ status: 'draining' });
    expect(refusal(await post('/chat', dish, server))).toMatchObject({ status: 503, code: 'draining' });
    expect((await running.reply).text).toMatch(/"completion_tokens":400[\s\S]*data: \[DONE\]\n\n$/);
    await stopped;
  });
});

describe('POST /chat', () => {
  test('the reply is plain text, a chunk for each token, with its finish reason as a trailer', async () => {
    const reply = await post('/chat', dish);
    expect(reply.status).toBe(200);
    expect(reply.headers['content-type']).toBe('text/plain; charset=utf-8');
    expect(reply.headers['transfer-encoding']).toBe('chunked');
    expect(reply.text).toMatch(/ceviche/i);
    expect(reply.trailers['x-finish-reason']).toBe('stop');
    const same = { messages: [SYSTEM, ...messages], temperature: 0, top_p: 0.9, repeat_penalty: 1.1 };
    const { usage } = json(await post(CHAT, same));
    // The last token is the one that ends the turn.
    expect(reply.chunks).toHaveLength(usage.completion_tokens - 1);
  });

  const SYSTEM = { role: 'system', content: 'You are a helpful assistant.' };

  test('all fields are accepted together, and a reply that is cut short says length', async () => {
    const sampling = { max_tokens: 3, top_p: 1, repeat_penalty: 1 };
    const body = { ...dish, ...sampling, system_prompt: 'Be brief.', model: 'default' };
    const reply = await post('/chat', body);
    expect(reply.chunks).toHaveLength(3);
    expect(reply.trailers['x-finish-reason']).toBe('length');
  });

  test('the defaults are those of the contract', async () => {
    const defaults = { system_prompt: SYSTEM.content, max_tokens: 256, top_p: 0.9, repeat_penalty: 1.1 };
    const bare = await post('/chat', { ...dish });
    expect((await post('/chat', { ...dish, ...defaults })).text).toBe(bare.text);
    // 256 tokens at most, however long the story.
    const story = await post('/chat', { prompt: 'Tell me a story about a lighthouse. '.repeat(3) });
    expect(story.chunks.length).toBeLessThanOrEqual(256);
    expect(story.chunks.length).toBeGreaterThan(0);
  });

  test.each([
    ['prompt', {}],
    ['prompt', { prompt: '' }],
    ['prompt', { prompt: 7 }],
    ['max_tokens', { max_tokens: 0 }],
    ['max_tokens', { max_tokens: 1.5 }],
    ['temperature', { temperature: -0.1 }],
    ['temperature', { temperature: 2.1 }],
    ['top_p', { top_p: 1.1 }],
    ['top_p', { top_p: -0.1 }],
    ['repeat_penalty', { repeat_penalty: 0 }],
    ['system_prompt', { system_prompt: 7 }],
  ])('an invalid %s is 400 naming it: %j', async (param, fields) => {
    const reply = await post('/chat', param === 'prompt' ? fields : { ...dish, ...fields });
    expect(reply.status).toBe(400);
    expect(json(reply).error).toMatchObject({ type: 'invalid_request_error', code: 'invalid_value', param });
    expect(json(reply).error.message).toContain(param);
  });

  test.each(['NaN', 'Infinity', '1e999'])('a temperature of %s is 400', async (value) => {
    expect((await post('/chat', `{"prompt":"x","temperature":${value}}`)).status).toBe(400);
  });

  test('an unknown model is 404', async () => {
    const reply = await post('/chat', { ...dish, model: 'nobody' });
    expect(refusal(reply)).toMatchObject({ status: 404, code: 'model_not_found', param: 'model' });
  });
});

describe('on every route', () => {
  test.each(ROUTES)(
    '%s is served with either header, and the reply has its request id: %j',
    async (path, body) => {
      for (const headers of [KEY, { Authorization: `Bearer ${LIVE_KEY}` }]) {
        const reply = await requests.post(live, path, body, headers);
        expect(reply).toMatchObject({ status: 200, cut: false });
        expect(reply.text).not.toBe('');
        expect(reply.headers['x-request-id']).toMatch(/^[\w-]{8,}$/);
      }
    },
  );

  test.each(ROUTES)('%s without a key, or with a wrong one, is 401 Bad API key: %j', async (path, body) => {
    for (const headers of [{}, { 'X-API-Key': 'wrong' }, { Authorization: 'Bearer wrong' }]) {
      const reply = await requests.post(live, path, body, headers);
      expect(reply.status).toBe(401);
      expect(json(reply).error).toEqual({
        ...{ message: 'Bad API key', type: 'authentication_error', param: null, code: 'invalid_api_key' },
      });
      expect(reply.headers['x-request-id']).toMatch(/./);
    }
  });

  const paths = [...new Set(ROUTES.map(([path]) => path))];

  test.each(paths)(
    '%s refuses bad JSON, bad UTF-8 and values that are not objects with 400',
    async (path) => {
      for (const body of ['{"prompt":', Buffer.from([0x7b, 0xff, 0x7d]), '[]', '""']) {
        expect((await post(path, body)).status).toBe(400);
      }
    },
  );

  test.each(paths)('%s refuses a body above MAX_BODY_BYTES with 413', async (path) => {
    const reply = await post(path, { prompt: 'x'.repeat(1_048_576) });
    expect(reply.status).toBe(413);
    expect(reply.text).toContain('body_too_large');
  });

  test.each(paths)('%s refuses another method with 405', async (path) => {
    expect((await get(live.url + path, KEY)).status).toBe(405);
  });

  test('an unknown path is 404', async () => {
    expect(json(await get(`${live.url}/nope`, KEY)).error.code).toBe('not_found');
  });

  test('only the origins of CORS_ORIGINS get CORS headers', async () => {
    const from = async (origin: string) =>
      (await post('/chat', { ...dish, max_tokens: 1 }, live, { Origin: origin })).headers[
        'access-control-allow-origin'
      ];
    expect(await from('https://good.example')).toBe('https://good.example');
    expect(await from('https://bad.example')).toBeUndefined();
  });

  test('a caller above RATE_LIMIT_QPS gets 429 with Retry-After', async () => {
    const server = await serve({ RATE_LIMIT_QPS: '0.001' });
    expect((await post('/chat', { ...dish, max_tokens: 1 }, server)).status).toBe(200);
    const limited = await post('/chat', dish, server);
    expect(refusal(limited)).toMatchObject({ status: 429, code: 'rate_limit_exceeded' });
    expect(Number(limited.headers['retry-after'])).toBeGreaterThan(0);
    expect((await get(`${server.url}/health`)).status).toBe(200);
  });

  test('a full queue and a timeout in the queue are 503 with Retry-After', async () => {
    const server = await serve({ QUEUE_LIMIT: '1', QUEUE_TIMEOUT_SECS: '2' });
    const running = await begun(server, CHAT, ENDLESS_CHAT);
    const waiting = post('/chat', dish, server);
    await server.untilReady(({ queue }) => queue.waiting === 1);
    const [full, late] = [await post('/chat', dish, server), await waiting];
    expect([full.status, json(full).error.code]).toEqual([503, 'queue_full']);
    expect([late.status, json(late).error.code]).toEqual([503, 'queue_timeout']);
    for (const { headers } of [full, late]) expect(Number(headers['retry-after'])).toBeGreaterThan(0);
    running.abort();
    await server.untilIdle();
  });
});

describe('a stream that has begun and cannot finish', () => {
  const broken = async (path: string, body: object): Promise<Reply> => {
    const running = await begun(endless, path, body);
    const ready = endless.next('worker_ready');
    killWorkers(endless);
    const [reply] = await Promise.all([running.reply, ready]);
    expect(reply.status).toBe(200);
    return reply;
  };

  test('plain text is cut before its last chunk', async () => {
    const reply = await broken('/chat', { prompt: DISH, max_tokens: 3_000 });
    expect(reply.cut).toBe(true);
    expect(reply.trailers).toEqual({});
  });

  test('SSE gets its error and no [DONE]', async () => {
    const reply = await broken(CHAT, ENDLESS_CHAT);
    expect(reply.text).not.toContain('[DONE]');
    expect(sseData(reply.text).at(-1)).toEqual({
      error: { message: expect.any(String), type: 'server_error', param: null, code: 'generation_failed' },
    });
  });

  test('NDJSON gets its error line and no done', async () => {
    const reply = await broken('/complete/stream', { ...ENDLESS_CHAT, model: 'quality' });
    expect(lines(reply).at(-1)).toMatchObject({ type: 'error' });
    expect(lines(reply).map(({ type }) => type)).not.toContain('done');
  });
});

test.each([
  ['/chat', { prompt: DISH, max_tokens: 3_000 }],
  [CHAT, ENDLESS_CHAT],
  ['/complete/stream', { ...ENDLESS_CHAT, model: 'quality' }],
])('a client of %s that leaves frees its slot', async (path, body) => {
  const running = await begun(endless, path, body);
  const done = endless.next('request');
  running.abort();
  expect(await done).toMatchObject({ outcome: 'cancelled', route: path });
  await endless.untilIdle();
});

test('errors and log lines contain no key, path of the server, prompt or reply', async () => {
  const secret = 'SECRET-WORDS';
  const replies = [
    await post('/chat', { prompt: secret, temperature: secret }),
    await post('/chat', `{"prompt": "${secret}`),
    await post(CHAT, { ...user(secret), model: secret }),
    await post(`/${secret}`, {}),
    await post('/chat', { prompt: `${secret} `.repeat(5000) }),
  ];
  expect(replies.map(({ status }) => status)).toEqual([400, 400, 404, 404, 400]);
  const said = JSON.stringify([replies.map(({ text, headers }) => ({ text, headers })), live.lines]);
  expect(live.logged('request').length).toBeGreaterThan(30);
  for (const word of [secret, LIVE_KEY, 'eviche', process.cwd()]) expect(said).not.toContain(word);
});
