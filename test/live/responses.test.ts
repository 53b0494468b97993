import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import OpenAI, {
  APIError,
  APIUserAbortError,
  AuthenticationError,
  BadRequestError,
  InternalServerError,
  NotFoundError,
} from 'openai';
import { zodResponsesFunction, zodTextFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import { ROOT } from '../../src/config/root.js';
import { demoModel, LIVE_KEY, LiveServer, writeConfig } from '../support/live.js';
import { DISH, killWorkers } from './requests.js';

/** The Responses API by the official OpenAI client, on real llama.cpp. */

type Input = OpenAI.Responses.ResponseInputItem[];
type Call = OpenAI.Responses.ResponseFunctionToolCall;

/** The output of a reply as the input of the next request; the SDK's types differ in items that do not occur here. */
const sentBack = (output: readonly object[]) => output as Input;

let live: LiveServer;
let client: OpenAI;

const clientOf = ({ url }: LiveServer, apiKey = LIVE_KEY) =>
  new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });

beforeAll(async () => {
  live = await new LiveServer({ LLM_SLOTS: '2' }).start();
  client = clientOf(live);
});

afterAll(() => live.stop());

const model = 'lmserv-demo';
const dish = { model, input: DISH, temperature: 0 };
const WEATHER = 'What is the weather in Lima?';

const tool = (name: string) => ({
  type: 'function' as const,
  name,
  description: name.replace('_', ' '),
  parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  strict: false,
});
const tools = [tool('get_weather'), tool('get_time')];

/** One that does not end by itself; the SDK passes llama.cpp's field on. */
const endless = { ...dish, ignore_eos: true, max_output_tokens: 1_500 };

test('a reply has text, usage, status and the settings of its request', async () => {
  const reply = await client.responses.create({ ...dish, instructions: 'Be brief.', metadata: { a: 'b' } });
  expect(reply.output_text).toMatch(/ceviche/i);
  expect(reply).toMatchObject({
    ...{ object: 'response', status: 'completed', model, error: null, incomplete_details: null },
    ...{ instructions: 'Be brief.', metadata: { a: 'b' }, temperature: 0, store: false },
  });
  const { input_tokens: read, output_tokens: written, total_tokens: total } = reply.usage!;
  expect(written).toBeGreaterThan(3);
  expect(total).toBe(read + written);
});

test('streams token by token the same text, and the helper puts the same response together', async () => {
  const whole = await client.responses.create(dish);
  const runner = client.responses.stream(dish);
  const pieces: string[] = [];
  let snapshot = '';
  runner.on('response.output_text.delta', (event) => {
    pieces.push(event.delta);
    ({ snapshot } = event);
  });
  const final = await runner.finalResponse();
  expect(final.output_text).toBe(whole.output_text);
  expect([pieces.join(''), snapshot]).toEqual([whole.output_text, whole.output_text]);
  // One event a token; the last token is the one that ends the turn.
  expect(pieces).toHaveLength(final.usage!.output_tokens - 1);
  expect(final).toMatchObject({ status: 'completed', output: [{ type: 'message', status: 'completed' }] });
});

test('max_output_tokens makes a reply incomplete', async () => {
  const short = { ...dish, max_output_tokens: 2 };
  const expected = { status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' } };
  const whole = await client.responses.create(short);
  expect(whole).toMatchObject({ ...expected, usage: { output_tokens: 2 } });
  expect(await client.responses.stream(short).finalResponse()).toMatchObject(expected);
});

test('a conversation goes on when its output is sent back', async () => {
  const input: Input = [{ role: 'user', content: DISH }];
  const first = await client.responses.create({ ...dish, input });
  input.push(...sentBack(first.output), { role: 'user', content: WEATHER });
  const second = await client.responses.create({ ...dish, input });
  expect(second.status).toBe('completed');
  expect(second.usage!.input_tokens).toBeGreaterThan(first.usage!.input_tokens);
  expect(second.usage!.input_tokens_details.cached_tokens).toBeGreaterThan(first.usage!.input_tokens / 2);
});

describe('tools', () => {
  test.each([false, true])('a call and a reply with its result, streamed: %s', async (stream) => {
    const input: Input = [{ role: 'user', content: WEATHER }];
    const ask = () => {
      const body = { model, input, temperature: 0, tools: [tools[0]!] };
      return stream ? client.responses.stream(body).finalResponse() : client.responses.create(body);
    };
    const called = await ask();
    const call = called.output.find(({ type }) => type === 'function_call') as Call;
    expect(call).toMatchObject({
      name: 'get_weather',
      status: 'completed',
      call_id: expect.stringMatching(/./),
    });
    expect(JSON.parse(call.arguments)).toEqual({ city: 'Lima' });
    const output = JSON.stringify({ city: 'Lima', temperature: 18 });
    input.push(...sentBack(called.output), { type: 'function_call_output', call_id: call.call_id, output });
    expect((await ask()).output_text).toContain('18');
  });

  test.each<[string, NonNullable<OpenAI.Responses.ResponseCreateParams['tool_choice']>, string]>([
    ['required', 'required', 'get_weather'],
    ['by name', { type: 'function', name: 'get_time' }, 'get_time'],
    [
      'allowed_tools',
      { type: 'allowed_tools', mode: 'required', tools: [{ type: 'function', name: 'get_time' }] },
      'get_time',
    ],
  ])('tool_choice %s is a call, streamed or not', async (_choice, tool_choice, name) => {
    const input = name === 'get_time' ? 'What time is it in Lima?' : WEATHER;
    const body = { model, input, temperature: 0, tools, tool_choice };
    const streamed = client.responses.stream(body);
    let delta = '';
    streamed.on('response.function_call_arguments.delta', ({ snapshot }) => (delta = snapshot));
    for (const reply of [await client.responses.create(body), await streamed.finalResponse()]) {
      expect(reply.output).toMatchObject([{ type: 'function_call', name }]);
      const [call] = reply.output as Call[];
      expect(JSON.parse(call!.arguments)).toEqual({ city: 'Lima' });
    }
    expect(JSON.parse(delta)).toEqual({ city: 'Lima' });
  });

  test('zodResponsesFunction has its arguments parsed', async () => {
    const reply = await client.responses.parse({
      ...{ model, input: WEATHER, temperature: 0, tool_choice: 'required' },
      tools: [zodResponsesFunction({ name: 'get_weather', parameters: z.object({ city: z.string() }) })],
    });
    expect(reply.output).toMatchObject([{ parsed_arguments: { city: 'Lima' } }]);
  });

  test('an ordinary question gets an ordinary reply although a tool is available', async () => {
    const reply = await client.responses.create({ ...dish, tools });
    expect(reply.output_text).toMatch(/ceviche/i);
    expect(reply.output.map(({ type }) => type)).toEqual(['message']);
  });
});

describe('text.format', () => {
  const person = {
    ...{ model, input: 'Give me a JSON object with name and age', temperature: 0 },
    text: { format: zodTextFormat(z.object({ name: z.string(), age: z.int() }), 'person') },
  };
  const expected = { name: expect.any(String), age: expect.any(Number) };

  test('parse returns the object, streamed or not', async () => {
    expect((await client.responses.parse(person)).output_parsed).toEqual(expected);
    expect((await client.responses.stream(person).finalResponse()).output_parsed).toEqual(expected);
  });

  test('an object that is cut is an incomplete response', async () => {
    const reply = await client.responses.create({ ...person, max_output_tokens: 3 });
    expect(reply.status).toBe('incomplete');
  });

  test('json_object is any object', async () => {
    const reply = await client.responses.create({ ...person, text: { format: { type: 'json_object' } } });
    expect(JSON.parse(reply.output_text)).toEqual(expect.any(Object));
  });
});

test('each token has log probabilities', async () => {
  const body = {
    ...{ ...dish, max_output_tokens: 4, top_logprobs: 2 },
    include: ['message.output_text.logprobs' as const],
  };
  for (const reply of [
    await client.responses.create(body),
    await client.responses.stream(body).finalResponse(),
  ]) {
    const [message] = reply.output as OpenAI.Responses.ResponseOutputMessage[];
    const { logprobs } = message!.content[0] as OpenAI.Responses.ResponseOutputText;
    expect(logprobs).toHaveLength(4);
    expect(logprobs![0]!.top_logprobs).toHaveLength(2);
    expect(logprobs!.map(({ token }) => token).join('')).toBe(reply.output_text);
  }
});

describe('an abort', () => {
  test('cancels a stream and frees its slot', async () => {
    const done = live.next('request');
    const stream = await client.responses.create({ ...endless, stream: true });
    for await (const event of stream)
      if (event.type === 'response.output_text.delta') stream.controller.abort();
    expect(await done).toMatchObject({ outcome: 'cancelled', route: '/v1/responses' });
    await live.untilIdle();
  });

  test('cancels a reply that is not streamed', async () => {
    const controller = new AbortController();
    const done = live.next('request');
    const reply = client.responses.create(endless, { signal: controller.signal });
    reply.catch(() => undefined);
    await live.untilReady(({ slots }) => slots.idle < slots.total);
    controller.abort();
    await expect(reply).rejects.toBeInstanceOf(APIUserAbortError);
    expect(await done).toMatchObject({ outcome: 'cancelled' });
    await live.untilIdle();
  });
});

test('a stream survives SIGKILL of its worker with the same text', async () => {
  const long = { ...endless, max_output_tokens: 200 };
  const whole = await client.responses.create(long);
  const runner = client.responses.stream(long);
  let killed = false;
  runner.on('response.output_text.delta', () => {
    if (!killed) killWorkers(live);
    killed = true;
  });
  const final = await runner.finalResponse();
  expect(final.output_text).toBe(whole.output_text);
  expect(final).toMatchObject({ status: 'incomplete', usage: { output_tokens: 200 } });
  await live.until('request', ({ resumes }) => resumes === 1);
});

describe('a server that breaks or refuses', () => {
  let server: LiveServer;

  beforeAll(async () => {
    server = await new LiveServer({ REPLY_RESUME: 'off', QUEUE_TIMEOUT_SECS: '0.1' }).start();
  });

  afterAll(() => server.stop());

  test('a full server is InternalServerError with 503', async () => {
    const running = await clientOf(server).responses.create({ ...endless, stream: true });
    const refused = clientOf(server).responses.create(dish);
    await expect(refused).rejects.toBeInstanceOf(InternalServerError);
    await expect(refused).rejects.toMatchObject({ status: 503, code: 'queue_timeout' });
    running.controller.abort();
    await server.untilIdle();
  });

  test('a stream whose worker is killed is APIError, not an end', async () => {
    const ready = server.next('worker_ready');
    const runner = clientOf(server).responses.stream(endless);
    runner.once('response.output_text.delta', () => killWorkers(server));
    const final = runner.finalResponse();
    await expect(final).rejects.toBeInstanceOf(APIError);
    await expect(final).rejects.toMatchObject({ code: 'generation_failed' });
    await ready;
  });
});

describe("errors are the SDK's own classes", () => {
  test.each<[string, () => Promise<unknown>, new (...rest: never[]) => Error, object]>([
    ['a bad key', () => clientOf(live, 'wrong').responses.create(dish), AuthenticationError, { status: 401 }],
    [
      'a value out of range',
      () => client.responses.create({ ...dish, temperature: 9 }),
      BadRequestError,
      { param: 'temperature', code: 'invalid_value' },
    ],
    [
      'an earlier reply by its id',
      () => client.responses.create({ ...dish, previous_response_id: 'resp_1' }),
      BadRequestError,
      { param: 'previous_response_id' },
    ],
    [
      'an image for a model without images',
      () =>
        client.responses.create({
          model,
          input: [
            {
              role: 'user',
              content: [
                { type: 'input_image', detail: 'auto', image_url: 'data:image/png;base64,iVBORw0KGgo=' },
              ],
            },
          ],
        }),
      BadRequestError,
      { message: expect.stringMatching(/image/i) },
    ],
    [
      'an unknown model',
      () => client.responses.create({ ...dish, model: 'nobody' }),
      NotFoundError,
      { code: 'model_not_found' },
    ],
    [
      'an unknown model on a stream',
      () => client.responses.create({ ...dish, model: 'nobody', stream: true }),
      NotFoundError,
      { code: 'model_not_found' },
    ],
    [
      'a prompt beyond the context',
      () => client.responses.create({ ...dish, input: 'word '.repeat(20_000), truncation: 'auto' }),
      BadRequestError,
      { code: 'context_length_exceeded' },
    ],
    ['reading a reply', () => client.responses.retrieve('resp_1'), NotFoundError, { code: 'not_found' }],
    ['cancelling a reply', () => client.responses.cancel('resp_1'), NotFoundError, { code: 'not_found' }],
    ['deleting a reply', () => client.responses.delete('resp_1'), NotFoundError, { code: 'not_found' }],
  ])('%s', async (_case, run, kind, expected) => {
    const error = await run().catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(kind);
    expect(error).toMatchObject(expected);
  });
});

describe('other backends', () => {
  let front: LiveServer;

  beforeAll(async () => {
    process.env.LMSERV_TEST_RESPONSES_KEY = LIVE_KEY;
    const remote = {
      baseUrl: `${live.url}/v1`,
      model,
      kind: 'openai',
      apiKeyEnv: 'LMSERV_TEST_RESPONSES_KEY',
    };
    const gemma = demoModel({
      extraArgs: [
        ...['--chat-template-file'],
        join(ROOT, 'vendor/llama.cpp/source/models/templates/google-gemma-2-2b-it.jinja'),
      ],
    });
    front = await new LiveServer((folder) => ({
      LMSERV_CONFIG: writeConfig(folder, { models: { gemma }, remotes: { far: remote } }),
    })).start();
    await front.untilReady(({ workers }) => workers.idle === 1);
  });

  afterAll(async () => {
    await front.stop();
    delete process.env.LMSERV_TEST_RESPONSES_KEY;
  });

  test('a remote server that speaks chat completions serves the same reply and calls', async () => {
    const far = { ...dish, model: 'far' };
    const { output_text: near } = await client.responses.create(dish);
    expect((await clientOf(front).responses.create(far)).output_text).toBe(near);
    expect((await clientOf(front).responses.stream(far).finalResponse()).output_text).toBe(near);
    const called = await clientOf(front).responses.create({
      ...far,
      ...{ input: WEATHER, tools, tool_choice: 'required' },
    });
    expect(called.output).toMatchObject([{ type: 'function_call', name: 'get_weather' }]);
  });

  test('a template without tools is made to call, and the result is taken back', async () => {
    const input: Input = [
      { role: 'developer', content: 'Be brief.' },
      { role: 'user', content: WEATHER },
    ];
    const body = { model: 'gemma', temperature: 0, tools, max_output_tokens: 200 };
    const tool_choice = { type: 'function' as const, name: 'get_time' };
    const called = await clientOf(front).responses.create({ ...body, input, tool_choice });
    const [call] = called.output as Call[];
    expect(call).toMatchObject({ type: 'function_call', name: 'get_time' });
    const result = { type: 'function_call_output' as const, call_id: call!.call_id, output: '10:30' };
    const reply = await clientOf(front).responses.create({ ...body, input: [...input, call!, result] });
    expect(reply.status).toMatch(/completed|incomplete/);
  });
});

test('each request of a Codex conversation finds the one before in the prefix cache', async () => {
  const { turns, last } = JSON.parse(readFileSync(join(ROOT, 'test/recorded/codex.json'), 'utf8'));
  const own = await new LiveServer().start();
  // All its tools would not fit the context of the demo model.
  const body = { ...last, model, tools: last.tools.slice(0, 1), max_output_tokens: 8, stream: true };
  const used: OpenAI.Responses.ResponseUsage[] = [];
  for (const turn of turns as number[]) {
    const stream: AsyncIterable<OpenAI.Responses.ResponseStreamEvent> = (await clientOf(own).responses.create(
      {
        ...body,
        input: last.input.slice(0, turn),
      },
    )) as never;
    for await (const event of stream)
      if ('response' in event && event.response.usage) used.push(event.response.usage);
  }
  expect(used).toHaveLength(turns.length);
  for (const [turn, { input_tokens_details: details }] of used.slice(1).entries())
    expect(details.cached_tokens).toBeGreaterThan(used[turn]!.input_tokens * 0.9);
  await own.stop();
});
