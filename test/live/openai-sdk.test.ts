import OpenAI, {
  APIConnectionError,
  APIError,
  APIUserAbortError,
  AuthenticationError,
  BadRequestError,
  InternalServerError,
  NotFoundError,
  RateLimitError,
} from 'openai';
import { LengthFinishReasonError } from 'openai/core/error';
import { zodFunction, zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import { LIVE_KEY, LiveServer } from '../support/live.js';
import { killWorkers } from './requests.js';

/** The official OpenAI client against LMServ on real llama-cli. */

let live: LiveServer;
let client: OpenAI;

beforeAll(async () => {
  live = await new LiveServer({ LLM_SLOTS: '2' }).start();
  client = new OpenAI({ baseURL: `${live.url}/v1`, apiKey: LIVE_KEY, maxRetries: 0 });
});

afterAll(() => live.stop());

const model = 'lmserv-demo';
const dish = [{ role: 'user', content: 'Name a famous Peruvian dish' }] as const;
const weather = [{ role: 'user', content: 'What is the weather in Lima?' }] as const;
const time = [{ role: 'user', content: 'What time is it in Lima?' }] as const;

type Fields = Partial<OpenAI.ChatCompletionCreateParamsNonStreaming>;

/** A question whose answer the model knows, in one piece. */
const create = (fields: Fields = {}) =>
  client.chat.completions.create({ model, messages: [...dish], temperature: 0, ...fields });

const textOf = ({ choices }: OpenAI.ChatCompletion) => choices[0]!.message.content!;

const tool = (name: string, parameter: string) =>
  ({
    type: 'function',
    function: {
      name,
      description: name.replace('_', ' '),
      parameters: { type: 'object', properties: { [parameter]: { type: 'string' } }, required: [parameter] },
    },
  }) as const;
const tools = [tool('get_weather', 'city'), tool('get_time', 'city')];

test('lists models and shows one', async () => {
  const ids = [];
  for await (const entry of client.models.list()) ids.push(entry.id);
  expect(ids).toEqual(['lmserv-demo', 'default', 'fast', 'quality']);
  expect(await client.models.retrieve(model)).toMatchObject({
    id: model,
    object: 'model',
    owned_by: 'lmserv',
  });
});

test('a chat without streaming replies correctly at temperature 0', async () => {
  const reply = await create();
  expect(textOf(reply)).toMatch(/ceviche/i);
  expect(reply.choices[0]!.finish_reason).toBe('stop');
  expect(reply.model).toBe(model);
  expect(reply.usage!.completion_tokens).toBeGreaterThan(3);
  expect(reply.usage!.total_tokens).toBe(reply.usage!.prompt_tokens + reply.usage!.completion_tokens);
});

test('streams token by token, the same text, with usage', async () => {
  const whole = await create();
  const stream = await client.chat.completions.create({
    ...{ model, messages: [...dish], temperature: 0, stream: true },
    stream_options: { include_usage: true },
  });
  const pieces: string[] = [];
  let usage: OpenAI.CompletionUsage | null | undefined;
  for await (const chunk of stream) {
    const text = chunk.choices[0]?.delta.content;
    if (text) pieces.push(text);
    usage = chunk.usage;
  }
  expect(pieces.join('')).toBe(textOf(whole));
  // One chunk a token; the last token is the one that ends the turn.
  expect(pieces.length).toBe(usage!.completion_tokens - 1);
});

test("the SDK's own stream helper puts the message together", async () => {
  const runner = client.chat.completions.stream({ model, messages: [...dish], temperature: 0 });
  const pieces: string[] = [];
  let snapshot = '';
  runner.on('content', (piece, soFar) => {
    pieces.push(piece);
    snapshot = soFar;
  });
  const final = await runner.finalChatCompletion();
  expect(textOf(final)).toMatch(/ceviche/i);
  expect([pieces.join(''), snapshot]).toEqual(Array(2).fill(textOf(final)));
});

test('a reply and an error have the request id of the log', async () => {
  const reply = await create({ max_tokens: 1 });
  expect(live.logged('request').map(({ requestId }) => requestId)).toContain(reply._request_id);
  await expect(create({ model: 'nope' })).rejects.toMatchObject({ requestID: expect.stringMatching(/./) });
});

describe('tools', () => {
  test.each([false, true])(
    'runTools calls the function and replies with its result, streamed: %s',
    async (stream) => {
      const calls: unknown[] = [];
      const getWeather = (given: { city: string }) => {
        calls.push(given);
        return JSON.stringify({ city: given.city, temperature: 18 });
      };
      const request = {
        ...{ model, messages: [...weather], temperature: 0 },
        tools: [
          {
            type: 'function' as const,
            function: {
              name: 'get_weather',
              description: 'Get the current weather in a city',
              parameters: z.toJSONSchema(city) as Record<string, unknown>,
              parse: (text: string) => city.parse(JSON.parse(text)),
              function: getWeather,
            },
          },
        ],
      };
      const runner = stream
        ? client.chat.completions.runTools({ ...request, stream })
        : client.chat.completions.runTools(request);
      expect(await runner.finalContent()).toContain('18');
      expect(calls).toEqual([{ city: 'Lima' }]);
      expect(runner.messages.map(({ role }) => role)).toEqual(['user', 'assistant', 'tool', 'assistant']);
    },
  );

  const city = z.object({ city: z.string().describe('Name of the city') });

  test('zodFunction has its arguments parsed', async () => {
    const reply = await client.chat.completions.parse({
      ...{ model, messages: [...weather], temperature: 0, tool_choice: 'required' },
      tools: [zodFunction({ name: 'get_weather', parameters: city })],
    });
    expect(reply.choices[0]!.message.tool_calls![0]!.function.parsed_arguments).toEqual({ city: 'Lima' });
  });

  const named = (name: string) => ({ type: 'function' as const, function: { name } });

  test.each([
    ['required, not streamed', false, 'required' as const, weather, 'get_weather'],
    ['by name, not streamed', false, named('get_weather'), weather, 'get_weather'],
    ['required, streamed', true, 'required' as const, weather, 'get_weather'],
    ['by name, streamed', true, named('get_time'), time, 'get_time'],
  ])('tool_choice %s', async (_name, streamed, tool_choice, messages, expected) => {
    const request = { model, messages: [...messages], tools, tool_choice, temperature: 0 };
    const reply = streamed
      ? await client.chat.completions.stream(request).finalChatCompletion()
      : await create(request);
    const [call] = reply.choices[0]!.message.tool_calls!;
    expect(reply.choices[0]!.finish_reason).toBe('tool_calls');
    expect(call).toMatchObject({
      id: expect.stringMatching(/./),
      type: 'function',
      function: { name: expected },
    });
    const { arguments: text } = (call as OpenAI.ChatCompletionMessageFunctionToolCall).function;
    expect(JSON.parse(text)).toEqual({ city: 'Lima' });
  });

  test('an ordinary question gets an ordinary reply although a tool is available', async () => {
    const reply = await create({ tools });
    expect(textOf(reply)).toMatch(/ceviche/i);
    expect(reply.choices[0]!.message.tool_calls).toBeUndefined();
  });
});

const person = { name: expect.any(String), age: expect.any(Number) };
const askPerson = { role: 'user' as const, content: 'Give me a JSON object with name and age' };

test.each([false, true])('a JSON schema is kept to, streamed: %s', async (stream) => {
  const schema = {
    type: 'object',
    properties: { name: { type: 'string' }, age: { type: 'integer' } },
    required: ['name', 'age'],
    additionalProperties: false,
  };
  const request = {
    model,
    messages: [askPerson],
    temperature: 0,
    response_format: { type: 'json_schema' as const, json_schema: { name: 'person', strict: true, schema } },
  };
  const reply = stream
    ? await client.chat.completions.stream(request).finalChatCompletion()
    : await client.chat.completions.create(request);
  expect(JSON.parse(textOf(reply))).toEqual(person);
});

describe('zodResponseFormat', () => {
  const request = {
    model,
    messages: [askPerson],
    temperature: 0,
    response_format: zodResponseFormat(z.object({ name: z.string(), age: z.int() }), 'person'),
  };

  test('parse returns the object', async () => {
    const reply = await client.chat.completions.parse(request);
    expect(reply.choices[0]!.message.parsed).toEqual(person);
  });

  test('the stream helper returns the object', async () => {
    const final = await client.chat.completions.stream(request).finalChatCompletion();
    expect(final.choices[0]!.message.parsed).toEqual(person);
  });

  test('an object that is cut is LengthFinishReasonError', async () => {
    const reply = client.chat.completions.parse({ ...request, max_tokens: 3 });
    await expect(reply).rejects.toBeInstanceOf(LengthFinishReasonError);
  });
});

test('each token has log probabilities', async () => {
  const wanted = { logprobs: true, top_logprobs: 2, max_tokens: 4 };
  const reply = await create(wanted);
  const content = reply.choices[0]!.logprobs!.content!;
  expect(content).toHaveLength(4);
  expect(content[0]!.top_logprobs).toHaveLength(2);
  expect(content.map((entry) => entry.token).join('')).toBe(textOf(reply));
  const streamed = await client.chat.completions
    .stream({ model, messages: [...dish], temperature: 0, ...wanted })
    .finalChatCompletion();
  expect(streamed.choices[0]!.logprobs!.content!.map((entry) => entry.token)).toEqual(
    content.map((entry) => entry.token),
  );
});

test('stop, seed and max_tokens take effect', async () => {
  const stopped = await create({ stop: ['famous'] });
  expect(textOf(stopped)).not.toContain('famous');
  expect(stopped.choices[0]!.finish_reason).toBe('stop');
  const short = await create({ max_tokens: 2 });
  expect(short.choices[0]!.finish_reason).toBe('length');
  expect(short.usage!.completion_tokens).toBe(2);
  const story = [{ role: 'user', content: 'Tell me a story' }] as const;
  const seeded = () => create({ messages: [...story], temperature: 2, seed: 7, max_tokens: 30 }).then(textOf);
  expect(await seeded()).toBe(await seeded());
});

test('n choices are served even with fewer slots', async () => {
  const reply = await create({ n: 3 });
  expect(reply.choices.map((choice) => choice.index)).toEqual([0, 1, 2]);
  for (const choice of reply.choices) expect(choice.message.content).toMatch(/ceviche/i);
});

test('completions continue a raw prompt', async () => {
  const request = { model, prompt: 'Once upon a time', max_tokens: 12, temperature: 0 };
  const reply = await client.completions.create(request);
  expect(reply.choices[0]!.text.length).toBeGreaterThan(10);
  const stream = await client.completions.create({ ...request, stream: true });
  let text = '';
  for await (const chunk of stream) text += chunk.choices[0]?.text ?? '';
  expect(text).toBe(reply.choices[0]!.text);
});

// A reply that does not end by itself; the SDK hands llama.cpp's fields on.
const endless = { model, messages: [...dish], ignore_eos: true, max_tokens: 3_000 };

test('an abort cancels the generation and frees its slot', async () => {
  const stream = await client.chat.completions.create({ ...endless, stream: true });
  const done = live.next('request');
  const read = (async () => {
    for await (const _chunk of stream) stream.controller.abort();
  })();
  await read.catch((error: unknown) => expect(error).toBeInstanceOf(APIUserAbortError));
  expect(await done).toMatchObject({ outcome: 'cancelled' });
  // Free again: two requests run at once, which needs both slots.
  await live.untilIdle();
  const both = await Promise.all([dish, weather].map((asked) => create({ messages: [...asked] })));
  expect(both).toHaveLength(2);
});

test('an abort of a reply that is not streamed cancels the generation', async () => {
  const controller = new AbortController();
  const done = live.next('request');
  const reply = client.chat.completions.create(endless, { signal: controller.signal });
  reply.catch(() => undefined);
  await live.untilReady(({ slots }) => slots.idle < slots.total);
  controller.abort();
  await expect(reply).rejects.toBeInstanceOf(APIUserAbortError);
  expect(await done).toMatchObject({ outcome: 'cancelled' });
  await live.untilIdle();
});

describe('a server that breaks or refuses', () => {
  let server: LiveServer;

  const client = (maxRetries: number) =>
    new OpenAI({ baseURL: `${server.url}/v1`, apiKey: LIVE_KEY, maxRetries });
  const request = { ...endless, stream: true as const };

  beforeAll(async () => {
    server = await new LiveServer({ REPLY_RESUME: 'off', QUEUE_TIMEOUT_SECS: '0.1' }).start();
  });

  afterAll(() => server.stop());

  test('503 is InternalServerError, and retried after its Retry-After', async () => {
    const running = await client(0).chat.completions.create(request);
    const asked = { model, messages: [...dish], temperature: 0 };
    const refused = client(0).chat.completions.create(asked);
    await expect(refused).rejects.toBeInstanceOf(InternalServerError);
    await expect(refused).rejects.toMatchObject({ status: 503, code: 'queue_timeout' });
    const again = server.next('request', ({ status }) => status === 503);
    const reply = client(5).chat.completions.create(asked);
    await again;
    running.controller.abort();
    expect(textOf(await reply)).toMatch(/ceviche/i);
  });

  test('a stream whose worker is killed is APIError, not an end', async () => {
    const ready = server.next('worker_ready');
    const read = async () => {
      let killed = false;
      for await (const _chunk of await client(0).chat.completions.create(request)) {
        if (!killed) killWorkers(server);
        killed = true;
      }
    };
    const reading = read();
    await expect(reading).rejects.toBeInstanceOf(APIError);
    await expect(reading).rejects.toMatchObject({ code: 'generation_failed' });
    await ready;
  });
});

describe("errors are the SDK's own classes", () => {
  test('a bad key', async () => {
    const stranger = new OpenAI({ baseURL: `${live.url}/v1`, apiKey: 'wrong', maxRetries: 0 });
    await expect(stranger.models.list()).rejects.toBeInstanceOf(AuthenticationError);
  });

  test('a bad body', async () => {
    const request = create({ temperature: 9 });
    await expect(request).rejects.toBeInstanceOf(BadRequestError);
    await expect(request).rejects.toMatchObject({ status: 400, param: 'temperature', code: 'invalid_value' });
  });

  test('an image for a model without images', async () => {
    const url = 'data:image/png;base64,iVBORw0KGgo=';
    const content = [{ type: 'image_url' as const, image_url: { url } }];
    const request = create({ messages: [{ role: 'user', content }] });
    await expect(request).rejects.toBeInstanceOf(BadRequestError);
    await expect(request).rejects.toMatchObject({ message: expect.stringMatching(/image/i) });
  });

  test('a caller above RATE_LIMIT_QPS', async () => {
    const limited = await new LiveServer({ RATE_LIMIT_QPS: '0.001' }).start();
    const hasty = new OpenAI({ baseURL: `${limited.url}/v1`, apiKey: LIVE_KEY, maxRetries: 0 });
    await hasty.models.list();
    await expect(hasty.models.list()).rejects.toBeInstanceOf(RateLimitError);
    await limited.stop();
    await expect(hasty.models.list()).rejects.toBeInstanceOf(APIConnectionError);
  });

  test('an unknown model', async () => {
    const request = create({ model: '../gpt-4' });
    await expect(request).rejects.toBeInstanceOf(NotFoundError);
    await expect(request).rejects.toMatchObject({ code: 'model_not_found' });
  });

  test('a prompt longer than the context', async () => {
    const request = create({ messages: [{ role: 'user', content: 'word '.repeat(20_000) }] });
    await expect(request).rejects.toMatchObject({ status: 400, code: 'context_length_exceeded' });
  });

  test('a stream that is wrong from the start has its own status', async () => {
    const request = client.chat.completions.create({ model: 'nope', messages: [...dish], stream: true });
    await expect(request).rejects.toBeInstanceOf(NotFoundError);
  });
});
