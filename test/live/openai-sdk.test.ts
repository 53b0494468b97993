import OpenAI, { APIUserAbortError, AuthenticationError, BadRequestError, NotFoundError } from 'openai';
import { LIVE_KEY, LiveServer } from '../support/live.js';

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
  const reply = await client.chat.completions.create({ model, messages: [...dish], temperature: 0 });
  expect(reply.choices[0]!.message.content).toMatch(/ceviche/i);
  expect(reply.choices[0]!.finish_reason).toBe('stop');
  expect(reply.model).toBe(model);
  expect(reply.usage!.completion_tokens).toBeGreaterThan(3);
  expect(reply.usage!.total_tokens).toBe(reply.usage!.prompt_tokens + reply.usage!.completion_tokens);
});

test('streams token by token, the same text, with usage', async () => {
  const whole = await client.chat.completions.create({ model, messages: [...dish], temperature: 0 });
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
  expect(pieces.join('')).toBe(whole.choices[0]!.message.content);
  // One chunk a token; the last token is the one that ends the turn.
  expect(pieces.length).toBe(usage!.completion_tokens - 1);
});

test("the SDK's own stream helper puts the message together", async () => {
  const runner = client.chat.completions.stream({ model, messages: [...dish], temperature: 0 });
  const final = await runner.finalChatCompletion();
  expect(final.choices[0]!.message.content).toMatch(/ceviche/i);
});

describe('tools', () => {
  test.each([
    ['required', 'required' as const],
    ['by name', { type: 'function' as const, function: { name: 'get_weather' } }],
  ])('tool_choice %s, not streamed', async (_name, tool_choice) => {
    const reply = await client.chat.completions.create({
      ...{ model, messages: [...weather], tools, tool_choice, temperature: 0 },
    });
    const [call] = reply.choices[0]!.message.tool_calls!;
    expect(reply.choices[0]!.finish_reason).toBe('tool_calls');
    expect(call).toMatchObject({ type: 'function', function: { name: 'get_weather' } });
    expect(call!.id).not.toBe('');
    expect(JSON.parse((call as { function: { arguments: string } }).function.arguments)).toEqual({
      city: 'Lima',
    });
  });

  test.each([
    ['required', 'required' as const, 'get_weather'],
    ['by name', { type: 'function' as const, function: { name: 'get_time' } }, 'get_time'],
  ])('tool_choice %s, streamed', async (_name, tool_choice, expected) => {
    const content = expected === 'get_time' ? 'What time is it in Lima?' : 'What is the weather in Lima?';
    const runner = client.chat.completions.stream({
      ...{ model, messages: [{ role: 'user', content }], tools, tool_choice, temperature: 0 },
    });
    const final = await runner.finalChatCompletion();
    const [call] = final.choices[0]!.message.tool_calls!;
    expect(final.choices[0]!.finish_reason).toBe('tool_calls');
    expect(call).toMatchObject({ function: { name: expected } });
    expect(JSON.parse((call as { function: { arguments: string } }).function.arguments)).toEqual({
      city: 'Lima',
    });
  });

  test('an ordinary question gets an ordinary reply although a tool is available', async () => {
    const reply = await client.chat.completions.create({ model, messages: [...dish], tools, temperature: 0 });
    expect(reply.choices[0]!.message.content).toMatch(/ceviche/i);
    expect(reply.choices[0]!.message.tool_calls).toBeUndefined();
  });
});

test.each([false, true])('a JSON schema is kept to, streamed: %s', async (stream) => {
  const schema = {
    type: 'object',
    properties: { name: { type: 'string' }, age: { type: 'integer' } },
    required: ['name', 'age'],
    additionalProperties: false,
  };
  const request = {
    model,
    messages: [{ role: 'user' as const, content: 'Give me a JSON object with name and age' }],
    temperature: 0,
    response_format: { type: 'json_schema' as const, json_schema: { name: 'person', strict: true, schema } },
  };
  const reply = stream
    ? await client.chat.completions.stream(request).finalChatCompletion()
    : await client.chat.completions.create(request);
  const value = JSON.parse(reply.choices[0]!.message.content!) as object;
  expect(Object.keys(value).sort()).toEqual(['age', 'name']);
  expect(value).toEqual({ name: expect.any(String), age: expect.any(Number) });
});

test('each token has log probabilities', async () => {
  const reply = await client.chat.completions.create({
    ...{ model, messages: [...dish], temperature: 0, logprobs: true, top_logprobs: 2, max_tokens: 4 },
  });
  const content = reply.choices[0]!.logprobs!.content!;
  expect(content).toHaveLength(4);
  expect(content[0]!.top_logprobs).toHaveLength(2);
  expect(content.map((entry) => entry.token).join('')).toBe(reply.choices[0]!.message.content);
});

test('stop, seed and max_tokens take effect', async () => {
  const stopped = await client.chat.completions.create({
    model,
    messages: [...dish],
    temperature: 0,
    stop: ['famous'],
  });
  expect(stopped.choices[0]!.message.content).not.toContain('famous');
  expect(stopped.choices[0]!.finish_reason).toBe('stop');
  const short = await client.chat.completions.create({
    model,
    messages: [...dish],
    temperature: 0,
    max_tokens: 2,
  });
  expect(short.choices[0]!.finish_reason).toBe('length');
  expect(short.usage!.completion_tokens).toBe(2);
  const seeded = () =>
    client.chat.completions
      .create({
        model,
        messages: [{ role: 'user', content: 'Tell me a story' }],
        temperature: 2,
        seed: 7,
        max_tokens: 30,
      })
      .then((reply) => reply.choices[0]!.message.content);
  expect(await seeded()).toBe(await seeded());
});

test('n choices are served even with fewer slots', async () => {
  const reply = await client.chat.completions.create({ model, messages: [...dish], temperature: 0, n: 3 });
  expect(reply.choices.map((choice) => choice.index)).toEqual([0, 1, 2]);
  for (const choice of reply.choices) expect(choice.message.content).toMatch(/ceviche/i);
});

test('completions continue a raw prompt', async () => {
  const reply = await client.completions.create({
    model,
    prompt: 'Once upon a time',
    max_tokens: 12,
    temperature: 0,
  });
  expect(reply.choices[0]!.text.length).toBeGreaterThan(10);
  const stream = await client.completions.create({
    ...{ model, prompt: 'Once upon a time', max_tokens: 12, temperature: 0, stream: true },
  });
  let text = '';
  for await (const chunk of stream) text += chunk.choices[0]?.text ?? '';
  expect(text).toBe(reply.choices[0]!.text);
});

test('an abort cancels the generation and frees its slot', async () => {
  // One that does not end by itself; the SDK hands llama.cpp's fields on.
  const endless = { ignore_eos: true, max_tokens: 3_500 };
  const stream = await client.chat.completions.create({
    model,
    messages: [...dish],
    stream: true,
    ...endless,
  });
  const done = live.next('request');
  const read = (async () => {
    for await (const _chunk of stream) stream.controller.abort();
  })();
  await read.catch((error: unknown) => expect(error).toBeInstanceOf(APIUserAbortError));
  expect(await done).toMatchObject({ outcome: 'cancelled' });
  // Free again: two requests run at once, which needs both slots.
  await live.untilIdle();
  const both = await Promise.all(
    [dish, weather].map((m) => client.chat.completions.create({ model, messages: [...m] })),
  );
  expect(both).toHaveLength(2);
});

describe("errors are the SDK's own classes", () => {
  test('a bad key', async () => {
    const stranger = new OpenAI({ baseURL: `${live.url}/v1`, apiKey: 'wrong', maxRetries: 0 });
    await expect(stranger.models.list()).rejects.toBeInstanceOf(AuthenticationError);
  });

  test('a bad body', async () => {
    const request = client.chat.completions.create({ model, messages: [...dish], temperature: 9 });
    await expect(request).rejects.toBeInstanceOf(BadRequestError);
    await expect(request).rejects.toMatchObject({ status: 400, param: 'temperature', code: 'invalid_value' });
  });

  test('an unknown model', async () => {
    const request = client.chat.completions.create({ model: '../gpt-4', messages: [...dish] });
    await expect(request).rejects.toBeInstanceOf(NotFoundError);
    await expect(request).rejects.toMatchObject({ code: 'model_not_found' });
  });

  test('a prompt longer than the context', async () => {
    const request = client.chat.completions.create({
      model,
      messages: [{ role: 'user', content: 'word '.repeat(20_000) }],
    });
    await expect(request).rejects.toMatchObject({ status: 400, code: 'context_length_exceeded' });
  });

  test('a stream that is wrong from the start has its own status', async () => {
    const request = client.chat.completions.create({ model: 'nope', messages: [...dish], stream: true });
    await expect(request).rejects.toBeInstanceOf(NotFoundError);
  });
});
