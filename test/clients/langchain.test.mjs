import { AIMessageChunk, HumanMessage, SystemMessage, ToolMessage } from '@langchain/core/messages';
import { tool } from '@langchain/core/tools';
import { ChatOpenAI } from '@langchain/openai';
import { z } from 'zod';
import { DISH, ENDLESS, KEY, killWorkers, MODEL, startServer, TOO_LONG, WEATHER } from './server.mjs';

/** LangChain's ChatOpenAI, unmodified. */

let server;
/** Its replies do not end by themselves. */
let endless;

beforeAll(async () => {
  [server, endless] = await Promise.all([startServer(), startServer(ENDLESS)]);
});

afterAll(() => Promise.all([server?.stop(), endless?.stop()]));

const chat = (fields = {}, { url } = server) =>
  new ChatOpenAI({
    model: MODEL,
    apiKey: KEY,
    configuration: { baseURL: `${url}/v1` },
    temperature: 0,
    maxRetries: 0,
    ...fields,
  });

const getWeather = tool(async ({ city }) => JSON.stringify({ city, temperature: 18 }), {
  name: 'get_weather',
  description: 'Get the current weather in a city',
  schema: z.object({ city: z.string().describe('Name of the city') }),
});
const person = z.object({ name: z.string(), age: z.int() });
const PERSON = 'Give me a JSON object with name and age';

test('invoke replies, with usage', async () => {
  const reply = await chat().invoke([
    new SystemMessage('You are a helpful assistant.'),
    new HumanMessage(DISH),
  ]);
  expect(reply.content).toMatch(/ceviche/i);
  expect(reply.response_metadata.finish_reason).toBe('stop');
  const { input_tokens, output_tokens, total_tokens } = reply.usage_metadata;
  expect(total_tokens).toBe(input_tokens + output_tokens);
});

test('maxTokens is the finish reason length', async () => {
  const reply = await chat({ maxTokens: 2 }).invoke(DISH);
  expect(reply.response_metadata.finish_reason).toBe('length');
  expect(reply.usage_metadata.output_tokens).toBe(2);
});

test('stream streams the same text token by token, with usage', async () => {
  const whole = await chat().invoke(DISH);
  const pieces = [];
  let sum = new AIMessageChunk('');
  for await (const chunk of await chat().stream(DISH)) {
    if (chunk.content !== '') pieces.push(chunk.content);
    sum = sum.concat(chunk);
  }
  expect(pieces.join('')).toBe(whole.content);
  // The last token is the one that ends the turn.
  expect(pieces).toHaveLength(sum.usage_metadata.output_tokens - 1);
});

test('batch replies to each prompt in its place, more of them than there are slots', async () => {
  const replies = await chat().batch([DISH, 'What is the capital of Peru?', DISH, 'What is 2 + 2?']);
  expect(replies.map(({ content }) => content)).toEqual([
    expect.stringMatching(/ceviche/i),
    expect.stringContaining('Lima'),
    expect.stringMatching(/ceviche/i),
    expect.stringContaining('4'),
  ]);
});

test('log probabilities are those of the tokens', async () => {
  const reply = await chat({ logprobs: true, topLogprobs: 2, maxTokens: 4 }).invoke(DISH);
  const tokens = reply.response_metadata.logprobs?.content ?? [];
  expect(tokens.map(({ token }) => token).join('')).toBe(reply.content);
});

describe('bindTools', () => {
  test('a call is parsed, and its result is replied to', async () => {
    const model = chat().bindTools([getWeather]);
    const question = new HumanMessage(WEATHER);
    const call = await model.invoke([question]);
    expect(call.tool_calls).toMatchObject([{ name: 'get_weather', args: { city: 'Lima' } }]);
    const result = await getWeather.invoke(call.tool_calls[0]);
    expect(result).toBeInstanceOf(ToolMessage);
    expect((await model.invoke([question, call, result])).content).toContain('18');
  });

  test('a streamed call is put together', async () => {
    let sum;
    for await (const chunk of await chat().bindTools([getWeather]).stream(WEATHER))
      sum = sum === undefined ? chunk : sum.concat(chunk);
    expect(sum.tool_calls).toMatchObject([{ name: 'get_weather', args: { city: 'Lima' } }]);
  });

  test.each(['any', 'required', 'get_weather'])('tool_choice %s is a call', async (tool_choice) => {
    const reply = await chat().bindTools([getWeather], { tool_choice }).invoke(WEATHER);
    expect(reply.tool_calls).toMatchObject([{ name: 'get_weather', args: { city: 'Lima' } }]);
  });
});

test.each(['jsonSchema', 'functionCalling', 'jsonMode'])(
  'withStructuredOutput by %s returns an object of the schema',
  async (method) => {
    const { schema, prompt } =
      method === 'jsonMode'
        ? { schema: z.looseObject({}), prompt: 'Give me a person as JSON' }
        : { schema: person, prompt: PERSON };
    const value = await chat().withStructuredOutput(schema, { method, name: 'person' }).invoke(prompt);
    expect(schema.parse(value)).toEqual(value);
    expect(Object.keys(value).length).toBeGreaterThan(0);
  },
);

test.each(['invoke', 'stream'])('an abort of %s rejects and cancels the generation', async (method) => {
  const controller = new AbortController();
  const cancelled = endless.next('request', ({ outcome }) => outcome === 'cancelled');
  const run = async () => {
    const reply = await chat({}, endless)[method](DISH, { signal: controller.signal });
    for await (const _chunk of reply);
  };
  const running = run();
  running.catch(() => undefined);
  await endless.untilReady(({ slots }) => slots.idle < slots.total);
  controller.abort();
  await expect(running).rejects.toThrow(/abort/i);
  await cancelled;
});

test('a stream whose worker is killed throws', async () => {
  const ready = endless.next('worker_ready');
  const run = async () => {
    let killed = false;
    for await (const _chunk of await chat({}, endless).stream(DISH)) {
      if (!killed) killWorkers(endless);
      killed = true;
    }
  };
  await expect(run()).rejects.toThrow();
  await ready;
});

test.each([
  ['a wrong key', { apiKey: 'wrong' }, DISH, { status: 401, lc_error_code: 'MODEL_AUTHENTICATION' }],
  ['an unknown model', { model: 'nobody' }, DISH, { status: 404, lc_error_code: 'MODEL_NOT_FOUND' }],
  ['a value out of range', { temperature: 9 }, DISH, { status: 400, param: 'temperature' }],
  ['a prompt beyond the context', {}, TOO_LONG, { name: 'ContextOverflowError' }],
])('%s is an error of its kind', async (_case, fields, prompt, expected) => {
  await expect(chat(fields).invoke(prompt)).rejects.toMatchObject(expected);
  await expect(chat(fields).stream(prompt)).rejects.toMatchObject(expected);
});
