import supertest from 'supertest';
import type { FinishReason, GenerateRequest, ReplyEvent, ToolCallDelta } from '../../../src/contract.js';
import { chat } from '../../../src/dialects/ollama/chat.js';
import { LMServError, type ErrorCode } from '../../../src/errors.js';
import { newTrace } from '../../../src/generate/trace.js';
import { connection, requestText, serving, textUntil } from '../serving.js';
import { events, failing, get, KEY, playing, post, saying, testApp } from '../../support/app.js';

/** Ollama's chat and generate: what reaches the backend, and what its reply looks like. */

const CHAT = '/api/chat';
const GENERATE = '/api/generate';
const user = { role: 'user', content: 'hi' };
const schema = { type: 'object', properties: { a: { type: 'integer' } } };
const tool = { type: 'function', function: { name: 'f', description: 'd', parameters: schema } };
const PNG = 'iVBORw0KGgo=';
const imagePart = { type: 'image_url', image_url: { url: `data:image/png;base64,${PNG}` } };
const isoDate = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);

/** The request that reaches the backend. */
async function sent(path: string, fields: object): Promise<GenerateRequest> {
  const generate = saying('x');
  const asked = path === CHAT ? { messages: [user] } : { prompt: 'hi' };
  await post(path, { model: 'm', ...asked, ...fields }, { generate }).expect(200);
  return generate.requests[0]!;
}

const bodyOf = async (path: string, fields: object) => (await sent(path, fields)).body;
const history = async (...messages: object[]) => (await sent(CHAT, { messages })).body.messages as any[];

async function refused(path: string, fields: object): Promise<string> {
  const generate = saying('x');
  const asked = path === CHAT ? { messages: [user] } : { prompt: 'hi' };
  const { body } = await post(path, { ...asked, ...fields }, { generate }).expect(400);
  expect(body).toEqual({ error: expect.any(String) });
  expect(generate.requests).toEqual([]);
  return body.error as string;
}

/** The lines of a stream. */
async function lines(path: string, fields: object, script: ReplyEvent[] = events('Hello', ' world')) {
  const asked = path === CHAT ? { messages: [user] } : { prompt: 'hi' };
  const reply = await post(path, { model: 'm', ...asked, ...fields }, { generate: playing(script) })
    .buffer(true)
    .expect(200)
    .expect('Content-Type', 'application/x-ndjson');
  expect(reply.text).toMatch(/\n$/);
  return reply.text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
}

async function whole(path: string, fields: object, script: ReplyEvent[] = events('Hello', ' world')) {
  const asked = path === CHAT ? { messages: [user] } : { prompt: 'hi' };
  const request = { model: 'm', stream: false, ...asked, ...fields };
  return (await post(path, request, { generate: playing(script) }).expect(200)).body;
}

const finish = (reason: FinishReason = 'stop'): ReplyEvent[] => [
  { type: 'finish', index: 0, reason },
  { type: 'usage', usage: { promptTokens: 7, completionTokens: 2, cachedTokens: 3 } },
];
const called = (...calls: ToolCallDelta[]) =>
  calls.map((call): ReplyEvent => ({ type: 'tool_call', index: 0, call }));

const measured = {
  total_duration: expect.any(Number),
  load_duration: expect.any(Number),
  prompt_eval_count: 7,
  prompt_eval_duration: expect.any(Number),
  eval_count: 2,
  eval_duration: expect.any(Number),
};

describe.each([CHAT, GENERATE])('the fields of %s', (path) => {
  const { messages } = { messages: [user] };

  test('become those of a chat', async () => {
    const options = {
      ...{ num_predict: 5, temperature: 0.5, top_k: 5, top_p: 0.9, min_p: 0.1, typical_p: 0.8, seed: 42 },
      ...{ repeat_last_n: 33, repeat_penalty: 1.2, presence_penalty: 1.5, frequency_penalty: 1 },
      ...{ mirostat: 1, mirostat_tau: 0.8, mirostat_eta: 0.6, stop: ['\n', 'user:'] },
    };
    const loading = { num_keep: 5, num_batch: 2, num_gpu: 1, main_gpu: 0, num_thread: 8, numa: false };
    const gone = { low_vram: false, vocab_only: false, use_mmap: true, penalize_newline: true, tfs_z: 0.5 };
    const { num_predict: max_tokens, ...others } = options;
    expect(await sent(path, { options: { ...options, ...loading, ...gone, num_ctx: 1024 } })).toEqual({
      kind: 'chat',
      n: 1,
      model: 'm',
      contextLength: 1024,
      body: { messages, max_tokens, ...others },
    });
  });

  test('that are null or empty are not set', async () => {
    const unset = {
      ...{ format: '', keep_alive: null, think: null, tools: null, images: [], logprobs: null },
      ...{ system: '', template: '', context: [], suffix: '', raw: null, stream: null, truncate: true },
      options: { num_predict: null, num_ctx: null, temperature: null, stop: [], seed: null, top_k: null },
    };
    expect((await sent(path, unset)).body).toEqual({ messages });
    expect((await sent(path, { options: null })).body).toEqual({ messages });
  });

  test.each([-1, -2, 0, 2_147_483_647])('num_predict %i is no limit', async (num_predict) => {
    const limit = (await bodyOf(path, { options: { num_predict } })).max_tokens ?? 2_147_483_647;
    expect(limit).toBe(2_147_483_647);
  });

  test('a stop that is one text, and -1 as seed', async () => {
    const body = await bodyOf(path, { options: { stop: 'END', seed: -1 } });
    expect(body).toEqual({ messages, stop: 'END' });
  });

  test('that the AI SDK puts beside options count, and those in options more', async () => {
    const beside = { temperature: 0.1, top_p: 0.2, max_output_tokens: 3 };
    const body = await bodyOf(path, { ...beside, options: { top_p: 0.3 } });
    expect(body).toEqual({ messages, temperature: 0.1, top_p: 0.3, max_tokens: 3 });
  });

  test.each<[unknown, object]>([
    [true, { chat_template_kwargs: { enable_thinking: true } }],
    [false, { chat_template_kwargs: { enable_thinking: false } }],
    ['low', { chat_template_kwargs: { enable_thinking: true }, reasoning_effort: 'low' }],
    ['max', { chat_template_kwargs: { enable_thinking: true }, reasoning_effort: 'high' }],
  ])('think %j', async (think, fields) => {
    expect(await bodyOf(path, { think })).toEqual({ messages, ...fields });
  });

  test.each<[unknown, object]>([
    ['json', { type: 'json_object' }],
    [schema, { type: 'json_schema', json_schema: { schema } }],
  ])('format %j', async (format, response_format) => {
    expect(await bodyOf(path, { format })).toEqual({ messages, response_format });
  });

  test.each<[object, RegExp]>([
    [{ options: { temperature: 9 } }, /^options\.temperature: /],
    [{ options: { temperature: '0.5' } }, /^options\.temperature: /],
    [{ options: { stop: [1] } }, /^options\.stop/],
    [{ options: 'none' }, /^options: /],
    [{ format: 'xml' }, /^format: must be json or a JSON schema/],
    [{ format: { type: 'object', $ref: 'http://a.example/b' } }, /^format: (?!must be json|Invalid)/],
    [{ think: 'yes' }, /^think: /],
    [{ keep_alive: '5 minutes' }, /^keep_alive: must be a number of seconds or a duration such as 5m/],
    [{ stream: 'no' }, /^stream: /],
    [{ top_logprobs: 21 }, /^top_logprobs: /],
    [{ _debug_render_only: true }, /^_debug_render_only: is not supported/],
  ])('%j is 400', async (fields, message) => {
    expect(await refused(path, fields)).toMatch(message);
  });
});

describe('the conversation', () => {
  test('keeps its turns, with roles in any case', async () => {
    const turns = [
      { role: 'System', content: 's' },
      { role: 'USER', content: 'a' },
      { role: 'assistant', content: 'b', thinking: 't' },
      { role: 'user', content: 'c', images: null, tool_calls: [] },
    ];
    expect(await history(...turns)).toEqual([
      { role: 'system', content: 's' },
      { role: 'user', content: 'a' },
      { role: 'assistant', content: 'b', reasoning_content: 't' },
      { role: 'user', content: 'c' },
    ]);
  });

  test('has images as base64', async () => {
    expect(await history({ ...user, images: [PNG, PNG] })).toEqual([
      { role: 'user', content: [{ type: 'text', text: 'hi' }, imagePart, imagePart] },
    ]);
    expect((await bodyOf(GENERATE, { images: [PNG] })).messages).toEqual([
      { role: 'user', content: [{ type: 'text', text: 'hi' }, imagePart] },
    ]);
  });

  const call = (id: string, name = 'f', args = '{"a":1}') => ({
    ...{ id, type: 'function' },
    function: { name, arguments: args },
  });

  test('has calls and their results, which are paired by name or order', async () => {
    const asked = (name: string) => ({ function: { name, arguments: { a: 1 } } });
    const turns = await history(
      user,
      { role: 'assistant', content: '', tool_calls: [asked('f'), asked('g')] },
      { role: 'tool', content: 'of g', tool_name: 'g' },
      { role: 'tool', content: 'of f' },
    );
    const [first, second] = ['call00001', 'call00002'] as const;
    expect(turns).toEqual([
      user,
      { role: 'assistant', content: null, tool_calls: [call(first), call(second, 'g')] },
      { role: 'tool', content: 'of g', tool_call_id: second },
      { role: 'tool', content: 'of f', tool_call_id: first },
    ]);
  });

  test('keeps the ids of calls', async () => {
    const turns = await history(
      user,
      { role: 'assistant', tool_calls: [{ id: 'mine', function: { index: 0, name: 'f', arguments: {} } }] },
      { role: 'tool', content: 'r', tool_call_id: 'mine', tool_name: 'f' },
    );
    expect(turns.slice(1)).toEqual([
      { role: 'assistant', content: null, tool_calls: [call('mine', 'f', '{}')] },
      { role: 'tool', content: 'r', tool_call_id: 'mine' },
    ]);
  });

  test('of generate is a question, with a system message', async () => {
    expect((await bodyOf(GENERATE, { system: 's' })).messages).toEqual([
      { role: 'system', content: 's' },
      user,
    ]);
  });

  test('may offer tools, and say which must be called', async () => {
    const tools = [tool];
    expect(await bodyOf(CHAT, { tools })).toEqual({ messages: [user], tools });
    const must = { tools, tool_choice: 'required' };
    expect(await bodyOf(CHAT, must)).toMatchObject({ tool_choice: 'required' });
  });

  test.each<[object, RegExp]>([
    [{ messages: 'hi' }, /^messages: must be a list/],
    [{ messages: [{ role: 'control', content: 'x' }] }, /^messages\.0.*: must be an object whose role is/],
    [{ messages: [{ role: 'user', content: [{ type: 'text', text: 'a' }] }] }, /^messages\.0\.content: /],
    [
      { messages: [{ ...user, images: ['http://a.example/b.png'] }] },
      /^messages\.0\.images\.0: must be base64/,
    ],
    [
      { messages: [{ role: 'system', content: 's', images: [PNG] }] },
      /^messages\.0\.images: only a turn of the user/,
    ],
    [{ messages: [{ role: 'user', content: 'a\0b' }] }, /^messages\.0\.content: must not contain NUL/],
    [{ tools: [{ type: 'function', function: { name: 'a b' } }] }, /^tools\.0/],
    [{ tool_choice: 'required' }, /^tool_choice: required without any tools/],
  ])('%j is 400', async (fields, message) => {
    expect(await refused(CHAT, fields)).toMatch(message);
  });
});

describe('generate', () => {
  test('continues a raw prompt', async () => {
    const options = { num_predict: 5, stop: ['a'] };
    expect(await sent(GENERATE, { raw: true, options, format: schema, think: true })).toEqual({
      kind: 'raw',
      n: 1,
      model: 'm',
      contextLength: undefined,
      body: { prompt: 'hi', max_tokens: 5, stop: ['a'], json_schema: schema },
    });
    expect(await bodyOf(GENERATE, { raw: true, format: 'json' })).toEqual({
      prompt: 'hi',
      json_schema: { type: 'object' },
    });
  });

  test.each<[object, RegExp]>([
    [{ suffix: 'x' }, /^suffix: is not supported/],
    [{ template: '{{ .Prompt }}' }, /^template: is not supported/],
    [{ context: [1, 2] }, /^context: is not supported; send the conversation to \/api\/chat/],
    [{ raw: true, system: 's' }, /^system: cannot be combined with raw/],
    [{ raw: true, images: [PNG] }, /^images: cannot be combined with raw/],
    [{ prompt: 7 }, /^prompt: /],
  ])('%j is 400', async (fields, message) => {
    expect(await refused(GENERATE, fields)).toMatch(message);
  });
});

describe('a stream', () => {
  const head = { model: 'm', created_at: isoDate };

  test('is the default, a line for each piece, and the last one tells numbers', async () => {
    const message = (content: string) => ({ ...head, message: { role: 'assistant', content }, done: false });
    const last = { done: true, done_reason: 'stop', ...measured };
    expect(await lines(CHAT, {})).toEqual([
      message('Hello'),
      message(' world'),
      { ...head, message: { role: 'assistant', content: '' }, ...last },
    ]);
    expect(await lines(GENERATE, { stream: true })).toEqual([
      { ...head, response: 'Hello', done: false },
      { ...head, response: ' world', done: false },
      { ...head, response: '', ...last },
    ]);
  });

  test('has durations of which none is 0, because clients divide by them', async () => {
    const { total_duration, ...others } = (await lines(CHAT, {})).at(-1);
    expect(total_duration).toBeGreaterThanOrEqual(1);
    for (const name of ['load_duration', 'prompt_eval_duration', 'eval_duration']) {
      expect(Number.isInteger(others[name])).toBe(true);
      expect(others[name]).toBeGreaterThanOrEqual(1);
    }
  });

  test('has thinking beside an empty text', async () => {
    const script: ReplyEvent[] = [
      { type: 'reasoning', index: 0, text: 'hm' },
      { type: 'text', index: 0, text: 'yes' },
      ...finish('length'),
    ];
    const [thought, said, last] = await lines(CHAT, {}, script);
    expect(thought.message).toEqual({ role: 'assistant', content: '', thinking: 'hm' });
    expect(said.message).toEqual({ role: 'assistant', content: 'yes' });
    expect(last).toMatchObject({ done: true, done_reason: 'length' });
    expect((await lines(GENERATE, {}, script))[0]).toMatchObject({
      response: '',
      thinking: 'hm',
      done: false,
    });
  });

  test('has calls whole, in one message', async () => {
    const script = [
      ...called(
        { index: 0, id: 'a', name: 'f' },
        { index: 0, arguments: '{"x"' },
        { index: 0, arguments: ':1}' },
      ),
      ...called({ index: 1, id: 'b', name: 'g', arguments: '' }),
      ...finish('tool_calls'),
    ];
    const [calls, last] = await lines(CHAT, { tools: [tool] }, script);
    expect(calls).toMatchObject({
      done: false,
      message: {
        ...{ role: 'assistant', content: '' },
        tool_calls: [
          { id: 'a', function: { index: 0, name: 'f', arguments: { x: 1 } } },
          { id: 'b', function: { index: 1, name: 'g', arguments: {} } },
        ],
      },
    });
    expect(last).toMatchObject({ done: true, done_reason: 'stop' });
  });

  test('has a call that was cut as text', async () => {
    const script = [...called({ index: 0, id: 'a', name: 'f', arguments: '{"x":' }), ...finish('length')];
    const [said, last] = await lines(CHAT, {}, script);
    expect(said.message).toEqual({ role: 'assistant', content: '{"name": "f", "arguments": {"x":' });
    expect(last.done_reason).toBe('length');
    expect((await whole(CHAT, {}, script)).message).toEqual(said.message);
  });

  test('that breaks off ends with its error, without done, and is cut behind it', async () => {
    const generate = failing(new LMServError('generation_failed', 'broken'), ...events('Hello').slice(0, 2));
    const { url } = await serving({ generate });
    const socket = connection(url);
    socket.write(requestText(CHAT, { messages: [user] }));
    const reply = await textUntil(socket);
    const said = [...reply.matchAll(/^\{.*\}$/gm)].map(([line]) => JSON.parse(line));
    expect(said).toEqual([
      expect.objectContaining({ message: { role: 'assistant', content: 'Hello' }, done: false }),
      { error: 'broken' },
    ]);
    // The chunk that ends a whole reply.
    expect(reply).not.toMatch(/\r\n0\r\n/);
  });

  test('is kept alive by lines that say nothing', () => {
    const call = chat.parse({ model: 'm', messages: [user] });
    if (!('stream' in call)) throw new Error('not a stream');
    const { ping } = call.stream({ requestId: 'r', created: 0, trace: newTrace() });
    expect(JSON.parse(ping!)).toEqual({ ...head, message: { role: 'assistant', content: '' }, done: false });
  });
});

describe('a whole reply', () => {
  const head = { model: 'm', created_at: isoDate };

  test('of chat and generate', async () => {
    const last = { done: true, done_reason: 'stop', ...measured };
    const message = { role: 'assistant', content: 'Hello world' };
    expect(await whole(CHAT, {})).toEqual({ ...head, message, ...last });
    expect(await whole(GENERATE, {})).toEqual({ ...head, response: 'Hello world', ...last });
  });

  test('names the model that replied if the client named none', async () => {
    expect((await whole(CHAT, { model: undefined })).model).toBe('test-model');
  });

  test('has log probabilities, with as many alternatives as asked for', async () => {
    const entry = { token: 'a', logprob: -0.5, bytes: [97] };
    const top_logprobs = [entry, { token: 'b', logprob: -1, bytes: [98] }];
    const script: ReplyEvent[] = [
      { type: 'text', index: 0, text: 'a', logprobs: [{ ...entry, top_logprobs }] },
      ...finish(),
    ];
    const logprobs = [{ ...entry, top_logprobs: [entry] }];
    for (const path of [CHAT, GENERATE]) {
      expect((await whole(path, { logprobs: true, top_logprobs: 1 }, script)).logprobs).toEqual(logprobs);
      expect((await lines(path, { logprobs: true, top_logprobs: 1 }, script))[0].logprobs).toEqual(logprobs);
      expect(await whole(path, {}, script)).not.toHaveProperty('logprobs');
    }
    expect(await bodyOf(CHAT, { logprobs: true })).toMatchObject({ logprobs: true, top_logprobs: 1 });
    expect(await bodyOf(GENERATE, { logprobs: true, raw: true })).toMatchObject({ logprobs: 1 });
  });
});

describe('keep_alive', () => {
  /** What is asked of the residence, in order. */
  function residing() {
    const asked: unknown[][] = [];
    const residence = {
      load: async (request: GenerateRequest) => void asked.push(['load', request.model]),
      keep: async (...wish: unknown[]) => void asked.push(['keep', wish[0], wish[2], wish[3]]),
    };
    return { asked, residence };
  }

  const guest = { caller: expect.anything(), mayManage: true };

  test.each<[string, object, object]>([
    [CHAT, { messages: [] }, { message: { role: 'assistant', content: '' } }],
    [CHAT, {}, { message: { role: 'assistant', content: '' } }],
    [GENERATE, { prompt: '' }, { response: '' }],
    [GENERATE, {}, { response: '' }],
  ])('an empty request to %s, %j, loads the model, and with 0 unloads it', async (path, body, said) => {
    const { asked, residence } = residing();
    const generate = saying('x');
    const send = (keep_alive?: unknown) =>
      post(path, { model: 'm', ...body, keep_alive }, { generate, residence });
    const settled = { model: 'm', created_at: isoDate, ...said, done: true };
    expect((await send().expect(200)).body).toEqual({ ...settled, done_reason: 'load' });
    expect((await send(-1).expect(200)).body).toEqual({ ...settled, done_reason: 'load' });
    expect((await send(0).expect(200)).body).toEqual({ ...settled, done_reason: 'unload' });
    expect(asked).toEqual([
      ['load', 'm'],
      ['load', 'm'],
      ['keep', 'pin', guest, undefined],
      ['keep', 'unload', guest, undefined],
    ]);
    expect(generate.requests).toEqual([]);
  });

  test.each<[unknown, string | undefined]>([
    [0, 'unload'],
    ['0', 'unload'],
    ['0s', 'unload'],
    ['0m0.0s', 'unload'],
    [-1, 'pin'],
    ['-1', 'pin'],
    ['-1s', 'pin'],
    [300, undefined],
    [0.5, undefined],
    ['5m', undefined],
    ['1h30m', undefined],
    ['1.5h', undefined],
    ['', undefined],
    [null, undefined],
  ])('%j after a reply means %s', async (keep_alive, wish) => {
    for (const stream of [true, false]) {
      const { asked, residence } = residing();
      await post(CHAT, { messages: [user], stream, keep_alive }, { residence }).expect(200);
      expect(asked).toEqual(wish === undefined ? [] : [['keep', wish, guest, 'test-model']]);
    }
  });

  test('a load that fails is an error', async () => {
    const load = async () => Promise.reject(new LMServError('insufficient_memory', 'too large'));
    const residence = { load, keep: async () => undefined };
    const { body } = await post(CHAT, { model: 'm' }, { residence }).expect(503);
    expect(body).toEqual({ error: 'too large' });
  });

  test('a wish that fails after the reply does not change it', async () => {
    const keep = async () => Promise.reject(new LMServError('draining'));
    const residence = { load: async () => undefined, keep };
    await post(CHAT, { messages: [user], stream: false, keep_alive: 0 }, { residence }).expect(200);
  });
});

describe('an error has Ollama’s form', () => {
  test.each<[ErrorCode, number]>([
    ['invalid_value', 400],
    ['context_length_exceeded', 400],
    ['forbidden', 403],
    ['rate_limit_exceeded', 429],
    ['budget_exceeded', 429],
    ['prompt_quarantined', 422],
    ['internal_error', 500],
    ['generation_failed', 500],
    ['provider_api_error', 502],
    ['queue_full', 503],
    ['starting', 503],
    ['provider_timeout', 504],
  ])('%s: %i', async (code, status) => {
    for (const path of [CHAT, GENERATE]) {
      for (const stream of [false, true]) {
        const generate = failing(new LMServError(code, 'why'));
        const asked = { messages: [user], prompt: 'hi', stream };
        const reply = await post(path, asked, { generate }).expect(status);
        expect(reply.body).toEqual({ error: 'why' });
        if (status === 503) expect(reply.headers['retry-after']).toBe('1');
      }
    }
  });

  test('an unknown model is not found, in the words that clients look for', async () => {
    const generate = failing(new LMServError('model_not_found'));
    const { body } = await post(CHAT, { messages: [user] }, { generate }).expect(404);
    expect(body.error).toMatch(/^model not found/);
  });

  test('also before the route', async () => {
    const app = testApp();
    const send = (path = CHAT) => supertest(app).post(path).set('Content-Type', 'application/json');
    const keyed = (path?: string) => send(path).set('X-API-Key', KEY);
    const asked = { messages: [user] };
    expect((await send().send(asked).expect(401)).body).toEqual({ error: 'Bad API key' });
    expect((await send('/api/show').send({}).expect(401)).body).toEqual({ error: 'Bad API key' });
    const form = { error: expect.any(String) };
    expect((await keyed().set('Host', 'evil.example').send(asked).expect(421)).body).toEqual(form);
    expect((await keyed().send('{').expect(400)).body).toEqual(form);
    const large = { messages: [{ ...user, content: 'a'.repeat(20_000) }] };
    expect((await keyed().send(large).expect(413)).body).toEqual(form);
    expect((await keyed('/api/me').send({}).expect(404)).body).toEqual(form);
    expect((await get(CHAT, app).expect(405)).body).toEqual(form);
    // Neighbours keep OpenAI's form.
    expect((await send('/apiX').send(asked).expect(401)).body.error.code).toBe('invalid_api_key');
  });

  test('also from the rate limit', async () => {
    const app = testApp({ rateLimitQps: 0.001 });
    await post(CHAT, { messages: [user] }, app).expect(200);
    const { body, headers } = await post(CHAT, { messages: [user] }, app).expect(429);
    expect(body).toEqual({ error: expect.any(String) });
    expect(headers['retry-after']).toMatch(/^\d+$/);
  });
});

describe('a body that is not declared as JSON', () => {
  const curl = (path: string) => {
    const type = 'application/x-www-form-urlencoded';
    return post(path, JSON.stringify({ prompt: 'hi', messages: [user] })).set('Content-Type', type);
  };

  test.each([CHAT, GENERATE, '/api/show'])('is taken as it is from curl: %s', async (path) => {
    const reply = await curl(path);
    expect([200, 404]).toContain(reply.status);
  });

  test.each([{ Origin: 'http://evil.example' }, { 'Sec-Fetch-Site': 'cross-site' }])(
    'is 415 from a web page: %j',
    async (headers) => {
      expect((await curl(CHAT).set(headers).expect(415)).body).toEqual({ error: expect.any(String) });
    },
  );

  test('is 415 on other routes', async () => {
    await curl('/v1/completions').expect(415);
  });
});

test('images do not count as text', async () => {
  const limits = { maxBodyBytes: 5_000, maxImageBodyBytes: 50_000 };
  const picture = 'A'.repeat(20_000);
  await post(CHAT, { messages: [{ ...user, images: [picture] }] }, limits).expect(200);
  await post(GENERATE, { prompt: 'hi', images: [picture] }, limits).expect(200);
  await post(CHAT, { messages: [{ ...user, content: picture }] }, limits).expect(413);
});

test.each([{ 'X-API-Key': KEY }, { Authorization: `Bearer ${KEY}` }])(
  'the key may be in %j',
  async (headers) => {
    await supertest(testApp())
      .post(CHAT)
      .set(headers)
      .send({ messages: [user] })
      .expect(200);
  },
);
