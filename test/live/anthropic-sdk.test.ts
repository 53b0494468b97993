import Anthropic, {
  APIConnectionError,
  APIError,
  APIUserAbortError,
  AuthenticationError,
  BadRequestError,
  ContentTooLargeError,
  NotFoundError,
  RateLimitError,
  ServiceUnavailableError,
} from '@anthropic-ai/sdk';
import { join } from 'node:path';
import { ROOT } from '../../src/config/root.js';
import { demoModel, ENDLESS, LIVE_KEY, LiveServer, writeConfig } from '../support/live.js';
import { killWorkers } from './requests.js';

/** The official Anthropic client against LMServ on real llama.cpp. */

const template = (name: string) => [
  '--chat-template-file',
  join(ROOT, `vendor/llama.cpp/source/models/templates/${name}.jinja`),
];

const models = {
  demo: demoModel({ slots: 2 }),
  reasoner: demoModel({ extraArgs: template('deepseek-ai-DeepSeek-R1-Distill-Qwen-32B') }),
  endless: demoModel({ extraArgs: [ENDLESS] }),
};

let live: LiveServer;
let client: Anthropic;

beforeAll(async () => {
  live = await new LiveServer((folder) => ({
    LMSERV_CONFIG: writeConfig(folder, { models, groups: { both: { members: ['endless', 'demo'] } } }),
  })).start();
  await live.untilReady(({ workers }) => workers.idle === 3);
  client = new Anthropic({ baseURL: live.url, apiKey: LIVE_KEY, maxRetries: 0 });
});

afterAll(() => live.stop());

const model = 'demo';
const dish = [{ role: 'user', content: 'Name a famous Peruvian dish' }] as Anthropic.MessageParam[];
const weather = [{ role: 'user', content: 'What is the weather in Lima?' }] as Anthropic.MessageParam[];
const asked = { model, messages: dish, max_tokens: 100, temperature: 0 };
const endless = { ...asked, model: 'endless', max_tokens: 3_500 };

const tool = (name: string): Anthropic.Tool => ({
  name,
  description: name.replace('_', ' '),
  input_schema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
});
const tools = [tool('get_weather'), tool('get_time')];

const textOf = ({ content }: Anthropic.Message) =>
  content.map((block) => (block.type === 'text' ? block.text : '')).join('');

const callsOf = ({ content }: Anthropic.Message) => content.filter((block) => block.type === 'tool_use');

test('a message is replied to, with usage', async () => {
  const message = await client.messages.create({ ...asked, system: 'You are a helpful assistant.' });
  expect(textOf(message)).toMatch(/ceviche/i);
  expect(message).toMatchObject({ type: 'message', role: 'assistant', model, stop_reason: 'end_turn' });
  expect(message.usage.output_tokens).toBeGreaterThan(3);
  expect(live.logged('request').map(({ requestId }) => requestId)).toContain(message._request_id);
});

test('usage tells tokens of the cache from others', async () => {
  const long = { ...asked, system: 'Be brief. '.repeat(100) };
  const first = (await client.messages.create(long)).usage;
  const second = (await client.messages.create(long)).usage;
  const sum = (usage: Anthropic.Usage) => usage.input_tokens + usage.cache_read_input_tokens!;
  expect(sum(second)).toBe(sum(first));
  expect(second.cache_read_input_tokens).toBeGreaterThan(second.input_tokens);
});

test('a stream has the same text, token by token, and the helper puts the message together', async () => {
  const whole = await client.messages.create(asked);
  const stream = client.messages.stream(asked);
  const pieces: string[] = [];
  const types: string[] = [];
  stream.on('text', (piece) => pieces.push(piece)).on('streamEvent', ({ type }) => types.push(type));
  const message = await stream.finalMessage();
  expect(pieces.join('')).toBe(textOf(whole));
  expect(message.content).toEqual(whole.content);
  expect(message.stop_reason).toBe('end_turn');
  expect(message.usage.output_tokens).toBe(whole.usage.output_tokens);
  // The last token is the one that ends the turn.
  expect(pieces).toHaveLength(message.usage.output_tokens - 1);
  expect([...new Set(types)]).toEqual([
    'message_start',
    'content_block_start',
    'content_block_delta',
    'content_block_stop',
    'message_delta',
    'message_stop',
  ]);
});

test('max_tokens and stop_sequences end a reply and say so, streamed or not', async () => {
  for (const reply of [
    (fields: object) => client.messages.create({ ...asked, ...fields }),
    (fields: object) => client.messages.stream({ ...asked, ...fields }).finalMessage(),
  ]) {
    expect(await reply({ max_tokens: 2 })).toMatchObject({
      stop_reason: 'max_tokens',
      usage: { output_tokens: 2 },
    });
    const stopped = await reply({ stop_sequences: ['nothing', 'famous'] });
    expect(stopped).toMatchObject({ stop_reason: 'stop_sequence', stop_sequence: 'famous' });
    expect(textOf(stopped)).not.toContain('famous');
    expect(await reply({ stop_sequences: ['nothing'] })).toMatchObject({
      stop_reason: 'end_turn',
      stop_sequence: null,
    });
  }
});

test('a turn that the client begins is continued', async () => {
  const full = textOf(await client.messages.create(asked));
  const begun = full.slice(0, full.indexOf(' ', 5));
  const message = await client.messages.create({
    ...asked,
    messages: [...dish, { role: 'assistant', content: [{ type: 'text', text: begun }] }],
  });
  expect(begun + textOf(message)).toBe(full);
});

describe('tools', () => {
  test.each([false, true])('are called, and their results replied to, streamed: %s', async (streamed) => {
    const ask = (messages: Anthropic.MessageParam[]) => {
      const request = { ...asked, tools, messages };
      return streamed ? client.messages.stream(request).finalMessage() : client.messages.create(request);
    };
    const called = await ask(weather);
    expect(called.stop_reason).toBe('tool_use');
    const [call] = callsOf(called);
    expect(call).toMatchObject({ type: 'tool_use', name: 'get_weather', input: { city: 'Lima' } });
    const result = {
      type: 'tool_result' as const,
      tool_use_id: call!.id,
      content: '{"city":"Lima","temperature":18}',
    };
    const answer = await ask([
      ...weather,
      { role: 'assistant', content: called.content },
      { role: 'user', content: [result] },
    ]);
    expect(textOf(answer)).toContain('18');
  });

  test('the tool runner of the SDK goes through the whole round', async () => {
    const inputs: unknown[] = [];
    const message = await client.beta.messages.toolRunner({
      ...asked,
      messages: weather,
      tools: [
        {
          ...(tool('get_weather') as Anthropic.Beta.BetaTool),
          parse: (input: unknown) => input,
          run: (input: unknown) => {
            inputs.push(input);
            return '{"city":"Lima","temperature":18}';
          },
        },
      ],
    } as Parameters<typeof client.beta.messages.toolRunner>[0]);
    expect(inputs).toEqual([{ city: 'Lima' }]);
    expect(textOf(message as Anthropic.Message)).toContain('18');
  });

  test.each<[Anthropic.ToolChoice, string, string]>([
    [{ type: 'any' }, 'What is the weather in Lima?', 'get_weather'],
    [{ type: 'tool', name: 'get_time' }, 'What time is it in Lima?', 'get_time'],
  ])('must be called with the choice %j', async (tool_choice, content, name) => {
    const messages: Anthropic.MessageParam[] = [{ role: 'user', content }];
    const request = { ...asked, messages, tools, tool_choice };
    for (const message of [
      await client.messages.create(request),
      await client.messages.stream(request).finalMessage(),
    ]) {
      expect(message.stop_reason).toBe('tool_use');
      expect(callsOf(message)).toMatchObject([{ name, input: { city: 'Lima' } }]);
    }
  });

  test('are not called with the choice none', async () => {
    const message = await client.messages.create({
      ...asked,
      messages: weather,
      tools,
      tool_choice: { type: 'none' },
    });
    expect(callsOf(message)).toEqual([]);
  });
});

test('a reply has the form of output_config', async () => {
  const schema = {
    type: 'object',
    properties: { name: { type: 'string' }, age: { type: 'integer' } },
    required: ['name', 'age'],
    additionalProperties: false,
  };
  const message = await client.messages.create({
    ...asked,
    messages: [{ role: 'user', content: 'Give me a JSON object with name and age' }],
    output_config: { format: { type: 'json_schema', schema } },
  });
  expect(JSON.parse(textOf(message))).toEqual({ name: expect.any(String), age: expect.any(Number) });
});

describe('thinking', () => {
  const request = { ...asked, model: 'reasoner', max_tokens: 60 };
  const thinking = { type: 'enabled' as const, budget_tokens: 8 };

  test('comes as a block before the text, within its budget', async () => {
    for (const message of [
      await client.messages.create({ ...request, thinking }),
      await client.messages.stream({ ...request, thinking }).finalMessage(),
    ]) {
      const [thought, answer] = message.content;
      expect(thought).toMatchObject({
        type: 'thinking',
        thinking: expect.stringMatching(/\w/),
        signature: 'lmserv',
      });
      expect(answer).toMatchObject({ type: 'text', text: expect.stringMatching(/./) });
    }
  });

  test('that is omitted comes back in its signature', async () => {
    const seen = await client.messages.create({ ...request, thinking });
    const message = await client.messages
      .stream({ ...request, thinking: { ...thinking, display: 'omitted' } })
      .finalMessage();
    const [thought] = message.content as [Anthropic.ThinkingBlock];
    expect(thought.thinking).toBe('');
    const count = (content: Anthropic.ContentBlockParam[]) =>
      client.messages.countTokens({
        model: 'reasoner',
        messages: [...dish, { role: 'assistant', content }, ...dish],
      });
    // To the model, both are the same.
    expect(await count(message.content)).toEqual(await count(seen.content));
  });
});

describe('count_tokens', () => {
  test.each<[string, Partial<Anthropic.MessageCreateParamsNonStreaming>]>([
    ['a question', {}],
    ['a system and tools', { system: [{ type: 'text', text: 'Be brief.' }], tools }],
    ['a turn to be continued', { messages: [...dish, { role: 'assistant', content: 'A famous' }] }],
  ])('counts exactly what the model reads: %s', async (_name, fields) => {
    const { max_tokens: _, temperature: __, ...counted } = { ...asked, ...fields };
    const { input_tokens } = await client.messages.countTokens(counted);
    const { usage } = await client.messages.create({ ...asked, ...fields });
    expect(input_tokens).toBe(usage.input_tokens + usage.cache_read_input_tokens!);
  });

  test('takes no slot', async () => {
    const stream = await client.messages.create({ ...endless, stream: true });
    const { input_tokens } = await client.messages.countTokens({ model: 'endless', messages: dish });
    expect(input_tokens).toBeGreaterThan(5);
    stream.controller.abort();
    await live.untilIdle();
  });

  test('of a group is by its first member that can', async () => {
    expect(await client.messages.countTokens({ model: 'both', messages: dish })).toEqual(
      await client.messages.countTokens({ model, messages: dish }),
    );
  });
});

test('an abort cancels the generation and frees its slot', async () => {
  const done = live.next('request', ({ outcome }) => outcome === 'cancelled');
  const stream = client.messages.stream(endless);
  stream.on('text', () => stream.abort());
  await expect(stream.finalMessage()).rejects.toBeInstanceOf(APIUserAbortError);
  expect(await done).toMatchObject({ route: '/v1/messages' });
  await live.untilIdle();
});

test('a stream survives the death of its worker', async () => {
  // Long enough that the worker does not finish it before it is killed.
  const request = { ...endless, max_tokens: 600 };
  const whole = await client.messages.create(request);
  const stream = client.messages.stream(request);
  stream.once('text', () => killWorkers(live));
  const message = await stream.finalMessage();
  expect(textOf(message)).toBe(textOf(whole));
  expect(message.usage.output_tokens).toBe(600);
  expect(await live.until('request', ({ resumes }) => resumes === 1)).toMatchObject({
    route: '/v1/messages',
  });
  await live.untilReady(({ workers }) => workers.idle === 3);
});

test('models are listed', async () => {
  const ids = [];
  for await (const { id, type } of client.models.list()) ids.push([id, type]);
  expect(ids).toContainEqual(['demo', 'model']);
  expect(await client.models.retrieve('demo')).toMatchObject({
    id: 'demo',
    type: 'model',
    max_input_tokens: 4_096,
  });
});

describe("errors are the SDK's own classes", () => {
  test('a bad key', async () => {
    const stranger = new Anthropic({ baseURL: live.url, apiKey: 'wrong', maxRetries: 0 });
    const refused = stranger.messages.create(asked);
    await expect(refused).rejects.toBeInstanceOf(AuthenticationError);
    await expect(refused).rejects.toMatchObject({
      type: 'authentication_error',
      requestID: expect.stringMatching(/./),
    });
    const bearer = new Anthropic({ baseURL: live.url, apiKey: null, authToken: LIVE_KEY, maxRetries: 0 });
    expect(textOf(await bearer.messages.create(asked))).toMatch(/ceviche/i);
  });

  test.each<[string, object, RegExp]>([
    ['a value out of range', { temperature: 9 }, /temperature/],
    [
      'an image for a model without images',
      {
        messages: [
          {
            role: 'user',
            content: [
              { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'iVBORw0KGgo=' } },
            ],
          },
        ],
      },
      /image/,
    ],
    [
      'a tool of Anthropic',
      { tools: [{ type: 'web_search_20250305', name: 'web_search' }] },
      /web_search_20250305/,
    ],
    [
      'a prompt longer than the context',
      { messages: [{ role: 'user', content: 'word '.repeat(20_000) }] },
      /prompt is too long: \d+ tokens > 4096 maximum/,
    ],
  ])('%s', async (_name, fields, message) => {
    for (const stream of [false, true]) {
      const refused = client.messages.create({ ...asked, ...fields, stream });
      await expect(refused).rejects.toBeInstanceOf(BadRequestError);
      await expect(refused).rejects.toMatchObject({
        type: 'invalid_request_error',
        message: expect.stringMatching(message),
      });
    }
  });

  test('an unknown model or route', async () => {
    await expect(client.messages.create({ ...asked, model: 'claude' })).rejects.toBeInstanceOf(NotFoundError);
    await expect(client.messages.batches.list()).rejects.toMatchObject({
      status: 404,
      type: 'not_found_error',
    });
  });

  test('a body that is too large', async () => {
    const refused = client.messages.create({ ...asked, system: 'a'.repeat(2_000_000) });
    await expect(refused).rejects.toBeInstanceOf(ContentTooLargeError);
    await expect(refused).rejects.toMatchObject({ type: 'request_too_large' });
  });
});

describe('a server that refuses or breaks', () => {
  let server: LiveServer;
  const request = { ...endless, model: 'lmserv-demo' };
  const at = (maxRetries = 0) => new Anthropic({ baseURL: server.url, apiKey: LIVE_KEY, maxRetries });

  beforeAll(async () => {
    server = await new LiveServer({
      ...{ REPLY_RESUME: 'off', QUEUE_TIMEOUT_SECS: '0.1', LLM_EXTRA_ARGS: ENDLESS },
    }).start();
  });

  afterAll(() => server.stop());

  test('503 is ServiceUnavailableError of the type overloaded_error, and retried after its Retry-After', async () => {
    const running = await at().messages.create({ ...request, stream: true });
    const refused = at().messages.create(request);
    await expect(refused).rejects.toBeInstanceOf(ServiceUnavailableError);
    await expect(refused).rejects.toMatchObject({ status: 503, type: 'overloaded_error' });
    const again = server.next('request', ({ status }) => status === 503);
    const reply = at(5).messages.create({ ...request, max_tokens: 5 });
    await again;
    running.controller.abort();
    expect((await reply).stop_reason).toBe('max_tokens');
  });

  test('a stream whose worker is killed is APIError, not an end', async () => {
    const ready = server.next('worker_ready');
    const stream = at().messages.stream(request);
    stream.once('text', () => killWorkers(server));
    const broken = stream.finalMessage();
    await expect(broken).rejects.toBeInstanceOf(APIError);
    await expect(broken).rejects.toMatchObject({ type: 'api_error' });
    await ready;
  });

  test('a caller above RATE_LIMIT_QPS is RateLimitError', async () => {
    const limited = await new LiveServer({ RATE_LIMIT_QPS: '0.001' }).start();
    const hasty = new Anthropic({ baseURL: limited.url, apiKey: LIVE_KEY, maxRetries: 0 });
    await hasty.models.list();
    await expect(hasty.models.list()).rejects.toBeInstanceOf(RateLimitError);
    await limited.stop();
    await expect(hasty.models.list()).rejects.toBeInstanceOf(APIConnectionError);
  });
});
