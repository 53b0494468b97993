import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import {
  APICallError,
  generateObject,
  generateText,
  isStepCount,
  NoObjectGeneratedError,
  Output,
  streamText,
  tool,
} from 'ai';
import { createOllama } from 'ollama-ai-provider-v2';
import { z } from 'zod';
import { DISH, ENDLESS, KEY, killWorkers, MODEL, startServer, TOO_LONG, WEATHER } from './server.mjs';

/** Vercel's AI SDK, unmodified, with the providers that speak OpenAI's chat completions and Responses, and Anthropic's. */

let server;
/** Its replies do not end by themselves. */
let endless;

beforeAll(async () => {
  [server, endless] = await Promise.all([startServer(), startServer(ENDLESS)]);
});

afterAll(() => Promise.all([server?.stop(), endless?.stop()]));

const openai = ({ url }, apiKey = KEY) => createOpenAI({ baseURL: `${url}/v1`, apiKey });
const compatible = ({ url }, apiKey = KEY) =>
  createOpenAICompatible({
    name: 'lmserv',
    baseURL: `${url}/v1`,
    apiKey,
    includeUsage: true,
    supportsStructuredOutputs: true,
  });
const anthropic = ({ url }, apiKey = KEY) => createAnthropic({ baseURL: `${url}/v1`, apiKey });

const ollama = ({ url }, key = KEY) =>
  createOllama({ baseURL: `${url}/api`, headers: { Authorization: `Bearer ${key}` } });

const tools = {
  get_weather: tool({
    description: 'Get the current weather in a city',
    inputSchema: z.object({ city: z.string().describe('Name of the city') }),
    execute: async ({ city }) => ({ city, temperature: 18 }),
  }),
};
const person = z.object({ name: z.string(), age: z.int() });
const PERSON = 'Give me a JSON object with name and age';

/** What a stream says, and the errors that it reports. */
async function read(result) {
  const parts = [];
  for await (const part of result.stream) parts.push(part);
  return parts;
}

describe('a conversation over Responses', () => {
  const ask = (messages, store) =>
    generateText({
      ...{ model: openai(server)(MODEL), messages, temperature: 0, maxRetries: 0 },
      providerOptions: { openai: { store } },
    });
  const question = { role: 'user', content: DISH };

  test('continues from what was said', async () => {
    const first = await ask([question], false);
    const messages = [question, ...first.response.messages, { role: 'user', content: WEATHER }];
    const second = await ask(messages, false);
    expect(second.finishReason).toBe('stop');
    expect(second.usage.inputTokens).toBeGreaterThan(first.usage.inputTokens);
  });

  test('learns what to set if it sends back only ids', async () => {
    const first = await ask([question], true);
    const again = ask([question, ...first.response.messages, { role: 'user', content: WEATHER }], true);
    await expect(again).rejects.toMatchObject({
      statusCode: 400,
      message: expect.stringContaining('store: false'),
    });
  });
});

describe.each([
  ['@ai-sdk/openai', '/v1/chat/completions', (...server) => openai(...server).chat],
  ['@ai-sdk/openai', '/v1/responses', openai],
  ['@ai-sdk/openai-compatible', '/v1/chat/completions', compatible],
  ['@ai-sdk/anthropic', '/v1/messages', anthropic],
  // It reads no messages, only statuses.
  ['ollama-ai-provider-v2', '/api/chat', ollama, 'responseBody'],
])('%s on %s', (_name, route, provider, told = 'message') => {
  const asked = (prompt, on = server) => ({
    model: provider(on)(MODEL),
    prompt,
    temperature: 0,
    maxRetries: 0,
    // Otherwise only for Claude: for other models a schema becomes a tool.
    providerOptions: { anthropic: { structuredOutputMode: 'outputFormat' } },
  });

  test('generateText replies, with usage', async () => {
    const { text, finishReason, usage } = await generateText({
      ...asked(DISH),
      instructions: 'You are a helpful assistant.',
    });
    expect(text).toMatch(/ceviche/i);
    expect(finishReason).toBe('stop');
    expect(usage.totalTokens).toBe(usage.inputTokens + usage.outputTokens);
  });

  test('maxOutputTokens is the finish reason length', async () => {
    const { finishReason, usage } = await generateText({ ...asked(DISH), maxOutputTokens: 2 });
    expect(finishReason).toBe('length');
    expect(usage.outputTokens).toBe(2);
  });

  test('streamText streams the same text token by token, with usage', async () => {
    const { text } = await generateText(asked(DISH));
    const result = streamText(asked(DISH));
    const pieces = [];
    for await (const piece of result.textStream) pieces.push(piece);
    expect(pieces.join('')).toBe(text);
    // The last token is the one that ends the turn.
    expect(pieces).toHaveLength((await result.usage).outputTokens - 1);
    expect(await result.finishReason).toBe('stop');
  });

  test('generateText calls a tool and replies with its result', async () => {
    const { steps, text } = await generateText({ ...asked(WEATHER), tools, stopWhen: isStepCount(3) });
    expect(steps.map(({ finishReason }) => finishReason)).toEqual(['tool-calls', 'stop']);
    expect(steps[0].toolCalls).toMatchObject([{ toolName: 'get_weather', input: { city: 'Lima' } }]);
    expect(text).toContain('18');
  });

  test('streamText calls a tool and replies with its result', async () => {
    const result = streamText({ ...asked(WEATHER), tools, stopWhen: isStepCount(3) });
    const parts = await read(result);
    expect(parts).toContainEqual(
      expect.objectContaining({ type: 'tool-call', toolName: 'get_weather', input: { city: 'Lima' } }),
    );
    expect(await result.text).toContain('18');
  });

  test.each([
    ['required', 'required'],
    ['by name', { type: 'tool', toolName: 'get_weather' }],
  ])('toolChoice %s is a call', async (_choice, toolChoice) => {
    const { toolCalls, finishReason } = await generateText({ ...asked(WEATHER), tools, toolChoice });
    expect(finishReason).toBe('tool-calls');
    expect(toolCalls).toMatchObject([{ toolName: 'get_weather', input: { city: 'Lima' } }]);
  });

  test('generateObject returns an object of the schema', async () => {
    const { object } = await generateObject({ ...asked(PERSON), schema: person });
    expect(object).toEqual({ name: expect.any(String), age: expect.any(Number) });
  });

  test.each([
    ['object', Output.object({ schema: person }), { name: expect.any(String), age: expect.any(Number) }],
    ['choice', Output.choice({ options: ['invoice', 'offer'] }), expect.stringMatching(/^(invoice|offer)$/)],
    ['json', Output.json(), expect.anything()],
  ])('Output.%s has its form, streamed or not', async (_kind, output, expected) => {
    const settings = { ...asked(PERSON), output, maxOutputTokens: 200 };
    expect((await generateText(settings)).output).toEqual(expected);
    expect(await streamText(settings).output).toEqual(expected);
  });

  test('an object that is cut is NoObjectGeneratedError with its text', async () => {
    const error = await generateObject({ ...asked(PERSON), schema: person, maxOutputTokens: 3 }).catch(
      (thrown) => thrown,
    );
    expect(NoObjectGeneratedError.isInstance(error)).toBe(true);
    expect(error).toMatchObject({ finishReason: 'length', usage: { outputTokens: 3 } });
  });

  test('an abort ends the stream and cancels the generation', async () => {
    const controller = new AbortController();
    const cancelled = endless.next('request', ({ outcome }) => outcome === 'cancelled');
    const result = streamText({ ...asked(DISH, endless), abortSignal: controller.signal });
    const types = [];
    for await (const { type } of result.stream) {
      types.push(type);
      if (type === 'text-delta') controller.abort();
    }
    expect(types.at(-1)).toBe('abort');
    expect(await cancelled).toMatchObject({ route });
  });

  test('an abort rejects generateText and cancels the generation', async () => {
    const controller = new AbortController();
    const cancelled = endless.next('request', ({ outcome }) => outcome === 'cancelled');
    const reply = generateText({ ...asked(DISH, endless), abortSignal: controller.signal });
    await endless.untilReady(({ slots }) => slots.idle < slots.total);
    controller.abort();
    await expect(reply).rejects.toMatchObject({ name: 'AbortError' });
    await cancelled;
  });

  test('a stream whose worker is killed reports an error and no finish reason of its own', async () => {
    const errors = [];
    const ready = endless.next('worker_ready');
    const result = streamText({ ...asked(DISH, endless), onError: ({ error }) => errors.push(error) });
    let killed = false;
    const types = [];
    const thrown = [];
    try {
      for await (const { type } of result.stream) {
        types.push(type);
        if (type === 'text-delta' && !killed) {
          killed = true;
          killWorkers(endless);
        }
      }
    } catch (error) {
      // Ollama's provider passes over the error's line, and learns from the cut connection.
      thrown.push(error);
      types.push('error');
    }
    expect(types).toContain('error');
    expect(thrown.length > 0 ? thrown : errors).toHaveLength(1);
    expect(await result.finishReason.catch(() => 'error')).toBe('error');
    await ready;
  });

  test.each([
    ['a wrong key', () => ({ model: provider(server, 'wrong')(MODEL) }), 401, /Bad API key/, false],
    ['an unknown model', () => ({ model: provider(server)('nobody') }), 404, /model/, false],
    ['a value out of range', () => ({ temperature: undefined, topP: 9 }), 400, /top_p/, false],
    ['a prompt beyond the context', () => ({ prompt: TOO_LONG }), 400, /context|prompt is too long/, false],
  ])('%s is an APICallError with the message', async (_case, settings, statusCode, message, isRetryable) => {
    const error = await generateText({ ...asked(DISH), ...settings() }).catch((thrown) => thrown);
    expect(APICallError.isInstance(error)).toBe(true);
    expect(error).toMatchObject({ statusCode, isRetryable, [told]: expect.stringMatching(message) });
    const errors = [];
    await read(
      streamText({ ...asked(DISH), ...settings(), onError: ({ error: streamed }) => errors.push(streamed) }),
    );
    expect(errors).toMatchObject([{ statusCode, isRetryable }]);
  });
});
