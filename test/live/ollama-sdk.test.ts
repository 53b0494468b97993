import { join } from 'node:path';
import { Ollama, type ChatRequest, type ChatResponse, type Tool } from 'ollama';
import { ROOT } from '../../src/config/root.js';
import { demoModel, ENDLESS, LIVE_KEY, LiveServer, writeConfig } from '../support/live.js';
import { killWorkers } from './requests.js';

/** The official Ollama client against LMServ on real llama.cpp. */

const template = (name: string) => [
  '--chat-template-file',
  join(ROOT, `vendor/llama.cpp/source/models/templates/${name}.jinja`),
];

const models = {
  demo: demoModel({ slots: 2 }),
  reasoner: demoModel({ extraArgs: template('deepseek-ai-DeepSeek-R1-Distill-Qwen-32B') }),
  endless: demoModel({ extraArgs: [ENDLESS] }),
  spare: demoModel({ pin: false }),
};

let live: LiveServer;
let client: Ollama;

/** A client; without a key it sends none, as by default. */
const clientOf = ({ url }: LiveServer, key?: string) =>
  new Ollama({ host: url, headers: key === undefined ? {} : { Authorization: `Bearer ${key}` } });

beforeAll(async () => {
  live = await new LiveServer((folder) => ({
    LMSERV_CONFIG: writeConfig(folder, { models, groups: { both: { members: ['endless', 'demo'] } } }),
    KEYLESS_NETWORKS: '127.0.0.0/8',
  })).start();
  await live.untilReady(({ workers }) => workers.idle === 3);
  client = clientOf(live, LIVE_KEY);
});

afterAll(() => live.stop());

const model = 'demo';
const user = (content: string) => [{ role: 'user', content }];
const messages = user('Name a famous Peruvian dish');
const weather = user('What is the weather in Lima?');
const options = { temperature: 0 };
const asked = { model, messages, options };
const endless = { ...asked, model: 'endless', options: { ...options, num_predict: 3_500 } };

const tool = (name: string): Tool => ({
  type: 'function',
  function: {
    ...{ name, description: name.replace('_', ' ') },
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
});
const tools = [tool('get_weather'), tool('get_time')];

/** A reply put together from a stream, with its lines. */
async function streamed(request: ChatRequest) {
  const lines: ChatResponse[] = [];
  for await (const line of await client.chat({ ...request, stream: true })) lines.push(line);
  const last = lines.at(-1)!;
  const content = lines.map(({ message }) => message.content).join('');
  const thinking = lines.map((line) => line.message.thinking ?? '').join('');
  const tool_calls = lines.flatMap(({ message }) => message.tool_calls ?? []);
  return { lines, ...last, message: { role: 'assistant', content, thinking, tool_calls } };
}

const bothWays: [string, (request: ChatRequest) => Promise<ChatResponse>][] = [
  ['streamed', streamed],
  ['whole', (request) => client.chat({ ...request, stream: false })],
];

test('chat replies, with numbers', async () => {
  const reply = await client.chat(asked);
  expect(reply.message.content).toMatch(/ceviche/i);
  expect(reply).toMatchObject({ model, done: true, done_reason: 'stop', message: { role: 'assistant' } });
  expect(reply.prompt_eval_count).toBeGreaterThan(5);
  expect(reply.eval_count).toBeGreaterThan(3);
  const spent = reply.load_duration + reply.prompt_eval_duration + reply.eval_duration;
  expect(reply.total_duration).toBeGreaterThanOrEqual(spent);
});

test('a stream has the same text, token by token', async () => {
  const whole = await client.chat(asked);
  const { lines, message, ...last } = await streamed(asked);
  expect(message.content).toBe(whole.message.content);
  expect(last).toMatchObject({ done_reason: 'stop', eval_count: whole.eval_count });
  // The last token is the one that ends the turn, as the last line is.
  expect(lines).toHaveLength(last.eval_count);
  expect(lines.slice(0, -1).every(({ done, eval_count }) => !done && eval_count === undefined)).toBe(true);
});

test('names match with and without the tag latest, and are given back as they came', async () => {
  const reply = await client.chat({ ...asked, model: 'demo:latest' });
  expect(reply.model).toBe('demo:latest');
  expect(reply.message.content).toMatch(/ceviche/i);
});

test.each(bothWays)('num_predict and stop end a reply and say so, %s', async (_name, ask) => {
  const cut = await ask({ ...asked, options: { ...options, num_predict: 2 } });
  expect(cut).toMatchObject({ done_reason: 'length', eval_count: 2 });
  const stopped = await ask({
    ...asked,
    options: { ...options, num_predict: -1, stop: ['nothing', 'famous'] },
  });
  expect(stopped.done_reason).toBe('stop');
  expect(stopped.message.content).toMatch(/./);
  expect(stopped.message.content).not.toContain('famous');
});

test('generate answers a question as chat does, with a system message, streamed or not', async () => {
  const system = 'You are a helpful assistant.';
  const prompt = messages[0]!.content;
  const request = { model, prompt, system, options };
  const whole = await client.generate(request);
  const said = await client.chat({ ...asked, messages: [{ role: 'system', content: system }, ...messages] });
  expect(whole.response).toBe(said.message.content);
  let text = '';
  for await (const line of await client.generate({ ...request, stream: true })) text += line.response;
  expect(text).toBe(whole.response);
});

test('generate continues a raw prompt', async () => {
  const reply = await client.generate({
    model,
    prompt: 'A famous',
    raw: true,
    options: { ...options, num_predict: 4 },
  });
  expect(reply).toMatchObject({ response: expect.stringMatching(/./), done_reason: 'length', eval_count: 4 });
});

test('a seed gives the same reply again', async () => {
  const request = { ...asked, options: { seed: 42, temperature: 1, num_predict: 12, num_ctx: 4_096 } };
  const [first, second] = [await client.chat(request), await client.chat(request)];
  expect(first.message.content).toBe(second.message.content);
});

test('log probabilities', async () => {
  const request = { ...asked, logprobs: true, top_logprobs: 2 };
  const whole = await client.chat(request);
  expect(whole.logprobs!.length).toBeGreaterThan(3);
  expect(whole.logprobs![0]).toMatchObject({
    ...{ token: expect.any(String), logprob: expect.any(Number) },
    top_logprobs: [{ token: expect.any(String) }, { token: expect.any(String) }],
  });
  const { lines } = await streamed(request);
  expect(lines.flatMap(({ logprobs }) => logprobs ?? [])).toHaveLength(whole.logprobs!.length);
});

describe('tools', () => {
  test.each(bothWays)('are called, and their results replied to, %s', async (_name, ask) => {
    const called = await ask({ ...asked, messages: weather, tools });
    expect(called.message.tool_calls).toMatchObject([
      { function: { name: 'get_weather', arguments: { city: 'Lima' } } },
    ]);
    const result = { role: 'tool', tool_name: 'get_weather', content: '{"city":"Lima","temperature":18}' };
    const answer = await ask({ ...asked, messages: [...weather, called.message, result], tools });
    expect(answer.message.content).toContain('18');
  });

  test('come in one line of a stream, before the last one', async () => {
    const { lines } = await streamed({ ...asked, messages: weather, tools });
    const calling = lines.flatMap(({ message }, index) => (message.tool_calls ? [index] : []));
    expect(calling).toEqual([lines.length - 2]);
  });

  test('that must be called are', async () => {
    const request = { ...asked, messages: user('What time is it in Lima?'), tools, tool_choice: 'required' };
    const { message } = await client.chat(request);
    expect(message.tool_calls).toMatchObject([{ function: { name: 'get_time' } }]);
  });
});

const schema = {
  type: 'object',
  properties: { name: { type: 'string' }, age: { type: 'integer' } },
  required: ['name', 'age'],
  additionalProperties: false,
};

test.each<[string, string | object, unknown]>([
  ['a schema', schema, { name: expect.any(String), age: expect.any(Number) }],
  ['json', 'json', expect.any(Object)],
])('a reply has the format: %s', async (_name, format, expected) => {
  const prompt = 'Give me a JSON object with name and age';
  const limited = { ...options, num_predict: 200 };
  for (const [, ask] of bothWays) {
    const reply = await ask({ model, messages: user(prompt), format, options: limited });
    expect(JSON.parse(reply.message.content)).toEqual(expected);
  }
  const generated = await client.generate({ model, prompt, format, options: limited });
  expect(JSON.parse(generated.response!)).toEqual(expected);
});

test.each(bothWays)('thinking comes beside the text, %s', async (_name, ask) => {
  const request = { ...asked, model: 'reasoner', think: true, options: { ...options, num_predict: 60 } };
  const { message } = await ask(request);
  expect(message.thinking).toMatch(/\w/);
  const again = await ask({ ...request, messages: [...messages, message, ...messages] });
  expect(again.done).toBe(true);
});

test('a turn that the client begins is continued', async () => {
  const full = (await client.chat(asked)).message.content;
  const content = full.slice(0, full.indexOf(' ', 5));
  const reply = await client.chat({ ...asked, messages: [...messages, { role: 'assistant', content }] });
  expect(content + reply.message.content).toBe(full);
});

test('models are listed and shown', async () => {
  const { models: listed } = await client.list();
  const names = listed.map(({ name }) => name);
  expect(names).toEqual(expect.arrayContaining([...Object.keys(models), 'both'].map((id) => `${id}:latest`)));
  expect(listed[0]).toMatchObject({
    size: expect.any(Number),
    digest: expect.stringMatching(/^[0-9a-f]{64}$/),
    details: { format: 'gguf', family: 'llama', parameter_size: expect.stringMatching(/^[\d.]+M$/) },
  });
  const shown = await client.show({ model: 'demo' });
  expect(shown.capabilities).toEqual(['completion', 'tools']);
  expect(shown.model_info).toMatchObject({ 'general.architecture': 'llama', 'llama.context_length': 4_096 });
  expect(shown.details).toEqual(listed[0]!.details);
  expect((await client.show({ model: 'reasoner' })).capabilities).toContain('thinking');
  await expect(client.version()).resolves.toEqual({ version: expect.any(String) });
});

describe('models in memory', () => {
  const inMemory = async () => (await client.ps()).models.map(({ name }) => name);
  const settle = (who: Ollama, keep_alive?: number) =>
    who.generate({ model: 'spare', prompt: '', ...(keep_alive !== undefined && { keep_alive }) });

  test('an empty prompt loads, keep_alive 0 unloads, but not for a guest what others use', async () => {
    const guest = clientOf(live);
    expect(await inMemory()).not.toContain('spare:latest');
    expect(await settle(guest)).toMatchObject({ done: true, done_reason: 'load' });
    expect(await inMemory()).toContain('spare:latest');
    expect(await settle(guest, 0)).toMatchObject({ done: true, done_reason: 'unload' });
    expect(await inMemory()).not.toContain('spare:latest');

    await client.chat({ ...asked, model: 'spare' });
    await settle(guest, 0);
    expect(await inMemory()).toContain('spare:latest');
    await settle(client, 0);
    expect(await inMemory()).not.toContain('spare:latest');
  });

  test('keep_alive 0 with a question unloads after the reply', async () => {
    const unloaded = live.next('model_unloaded', ({ model: id }) => id === 'spare');
    const reply = await client.chat({ ...asked, model: 'spare', keep_alive: 0 });
    expect(reply.message.content).toMatch(/ceviche/i);
    await unloaded;
  });

  test('keep_alive -1 of an admin keeps a model for good', async () => {
    const state = () => live.server.memory.models().find(({ id }) => id === 'spare')!;
    await settle(clientOf(live), -1);
    expect(state()).toMatchObject({ state: 'loaded', pinned: false });
    await settle(client, -1);
    expect(state().pinned).toBe(true);
    await settle(client, 0);
    expect(await inMemory()).toContain('spare:latest');
    live.server.memory.unpin('spare');
  });
});

test('an abort cancels the generation and frees its slot', async () => {
  const done = live.next('request', ({ outcome }) => outcome === 'cancelled');
  const stream = await client.chat({ ...endless, stream: true });
  const read = async () => {
    for await (const _line of stream) stream.abort();
  };
  await expect(read()).rejects.toMatchObject({ name: 'AbortError' });
  expect(await done).toMatchObject({ route: '/api/chat' });
  await live.untilIdle();
});

test('a stream survives the death of its worker', async () => {
  // Long enough that the worker does not finish it before it is killed.
  const request = { ...endless, options: { ...options, num_predict: 600 } };
  const whole = await client.chat(request);
  let text = '';
  let last: ChatResponse | undefined;
  for await (const line of await client.chat({ ...request, stream: true })) {
    if (text === '') killWorkers(live);
    text += line.message.content;
    last = line;
  }
  expect(text).toBe(whole.message.content);
  expect(last).toMatchObject({ done_reason: 'length', eval_count: 600 });
  expect(await live.until('request', ({ resumes }) => resumes === 1)).toMatchObject({ route: '/api/chat' });
});

describe("errors are the client's own", () => {
  test('a bad key', async () => {
    const keyed = await new LiveServer().start();
    for (const key of [undefined, 'wrong']) {
      const refused = clientOf(keyed, key).chat({ ...asked, model: 'lmserv-demo' });
      await expect(refused).rejects.toMatchObject({
        ...{ name: 'ResponseError', status_code: 401, error: 'Bad API key' },
      });
    }
    await keyed.stop();
  });

  test.each<[string, object, number, RegExp]>([
    ['a value out of range', { options: { temperature: 9 } }, 400, /^options\.temperature: /],
    ['more context than there is', { options: { num_ctx: 8_192 } }, 400, /^num_ctx: .* 4096 tokens$/],
    [
      'an image for a model without images',
      { messages: [{ ...messages[0]!, images: ['iVBORw0KGgo='] }] },
      400,
      /images/,
    ],
    ['a prompt longer than the context', { messages: user('word '.repeat(20_000)) }, 400, /4096 tokens/],
    ['an unknown model', { model: 'llama3.2' }, 404, /^model not found/],
    ['a body that is too large', { messages: user('a'.repeat(2_000_000)) }, 413, /larger/],
  ])('%s', async (_name, fields, status_code, error) => {
    for (const stream of [false, true]) {
      const refused = client.chat({ ...asked, ...fields, stream } as ChatRequest & { stream: false });
      await expect(refused).rejects.toMatchObject({ status_code, error: expect.stringMatching(error) });
    }
  });

  test('what changes the models is 501', async () => {
    const error = expect.stringContaining('files of the server');
    for (const change of [
      client.pull({ model: 'llama3.2' }),
      client.push({ model }),
      client.create({ model: 'new', from: model }),
      client.copy({ source: model, destination: 'new' }),
      client.delete({ model }),
    ])
      await expect(change).rejects.toMatchObject({ status_code: 501, error });
  });
});

describe('a server that refuses or breaks', () => {
  let server: LiveServer;
  let busy: Ollama;
  const request = { ...endless, model: 'lmserv-demo' };

  beforeAll(async () => {
    server = await new LiveServer({
      ...{ REPLY_RESUME: 'off', QUEUE_TIMEOUT_SECS: '0.1', LLM_EXTRA_ARGS: ENDLESS },
    }).start();
    busy = clientOf(server, LIVE_KEY);
  });

  afterAll(() => server.stop());

  test('503 while every slot is in use', async () => {
    const running = await busy.chat({ ...request, stream: true });
    for (const refused of [busy.chat(request), busy.generate({ model: request.model, prompt: 'Hello' })])
      await expect(refused).rejects.toMatchObject({ status_code: 503, error: expect.any(String) });
    running.abort();
    await server.untilIdle();
  });

  test('a stream whose worker is killed is an error, not an end', async () => {
    const ready = server.next('worker_ready');
    const read = async () => {
      for await (const _line of await busy.chat({ ...request, stream: true })) killWorkers(server);
    };
    await expect(read()).rejects.toThrow(/worker/);
    await ready;
  });

  test('a caller above RATE_LIMIT_QPS is 429', async () => {
    const limited = await new LiveServer({ RATE_LIMIT_QPS: '0.001' }).start();
    const hasty = clientOf(limited, LIVE_KEY);
    await hasty.list();
    await expect(hasty.list()).rejects.toMatchObject({ status_code: 429 });
    await limited.stop();
    await expect(hasty.list()).rejects.toThrow('fetch failed');
  });
});
