import { join } from 'node:path';
import OpenAI, { BadRequestError } from 'openai';
import { ROOT } from '../../src/config/root.js';
import { json } from '../support/exchange.js';
import { demoModel, LIVE_KEY, LiveServer, writeConfig } from '../support/live.js';
import * as requests from './requests.js';
import { begun, CHAT, killWorkers, user } from './requests.js';

/** Chat templates of real models on the demo model, by OpenAI's client: `npm run test:templates` has all of them. */

const template = (name: string) => ({
  extraArgs: ['--chat-template-file', join(ROOT, `vendor/llama.cpp/source/models/templates/${name}.jinja`)],
});

const models = {
  gemma: demoModel(template('google-gemma-2-2b-it')),
  kimi: demoModel(template('Kimi-K2-Instruct')),
  nemo: demoModel(template('mistralai-Mistral-Nemo-Instruct-2407')),
  oss: demoModel(template('openai-gpt-oss-120b')),
};

let live: LiveServer;
let off: LiveServer;
let client: OpenAI;

beforeAll(async () => {
  live = await new LiveServer((folder) => ({
    LMSERV_CONFIG: writeConfig(folder, { models, groups: { both: { members: ['nemo', 'gemma'] } } }),
  })).start();
  off = await new LiveServer((folder) => ({
    LMSERV_CONFIG: writeConfig(folder, { models: { gemma: models.gemma } }),
    MESSAGE_SHAPING: 'off',
  })).start();
  await live.untilReady(({ workers }) => workers.idle === 4);
  client = new OpenAI({ baseURL: `${live.url}/v1`, apiKey: LIVE_KEY, maxRetries: 0 });
});

afterAll(async () => {
  await Promise.all([live.stop(), off.stop()]);
});

const tool = (name: string) =>
  ({
    type: 'function',
    function: {
      name,
      parameters: { type: 'object', properties: { city: { enum: ['Lima', 'Cusco'] } }, required: ['city'] },
    },
  }) as const;
const tools = [tool('get_weather'), tool('get_time')];

const post = (body: object) => requests.post(live, CHAT, { max_tokens: 64, temperature: 0, ...body });

/** What agents send every day, and gemma-2's template refuses in five ways. */
const conversation: OpenAI.ChatCompletionMessageParam[] = [
  { role: 'system', content: 'Be brief.' },
  { role: 'user', content: 'Hello' },
  { role: 'user', content: 'What is the weather in Lima?' },
  {
    role: 'assistant',
    content: null,
    tool_calls: [
      { id: 'call_1', type: 'function', function: { name: 'get_weather', arguments: '{"city":"Lima"}' } },
    ],
  },
  { role: 'tool', tool_call_id: 'call_1', content: '18 degrees' },
  { role: 'system', content: 'The user is in a hurry.' },
  { role: 'user', content: 'Name a famous Peruvian dish' },
];

test('tools, two user turns in a row and a system message in the middle work on the template of gemma-2', async () => {
  const asked = { model: 'gemma', tools, max_tokens: 200 };
  const reply = await client.chat.completions.create({ ...asked, messages: conversation });
  expect(reply.choices[0]!.finish_reason).toMatch(/stop|length/);
  expect(reply.usage!.prompt_tokens).toBeGreaterThan(100);
  const called = await client.chat.completions.create({
    ...asked,
    messages: conversation,
    tool_choice: { type: 'function', function: { name: 'get_time' } },
  });
  const { message, finish_reason: reason } = called.choices[0]!;
  expect(reason).toBe('tool_calls');
  const [call] = message.tool_calls!;
  expect(call).toMatchObject({ type: 'function', function: { name: 'get_time' } });
  expect(JSON.parse((call as typeof call & { type: 'function' }).function.arguments)).toEqual({
    city: expect.stringMatching(/Lima|Cusco/),
  });
  const answered = await client.chat.completions.create({
    ...asked,
    messages: [...conversation, message, { role: 'tool', tool_call_id: call!.id, content: '10:30' }],
  });
  expect(answered.choices).toHaveLength(1);
  const metrics = await (await fetch(`${live.url}/metrics`, { headers: { 'X-API-Key': LIVE_KEY } })).text();
  for (const kind of ['system_message', 'merged_turns', 'tool_turns', 'tool_definitions'])
    expect(metrics).toContain(`lmserv_conversations_adapted_total{model="gemma",kind="${kind}"} 3`);
});

test('with MESSAGE_SHAPING=off the template’s own sentence is the 400, and the worker is not to blame', async () => {
  const strict = new OpenAI({ baseURL: `${off.url}/v1`, apiKey: LIVE_KEY, maxRetries: 0 });
  const refused = await strict.chat.completions
    .create({ model: 'gemma', messages: conversation })
    .catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(BadRequestError);
  expect(refused).toMatchObject({ code: 'invalid_value', param: 'messages' });
  expect((refused as Error).message).toMatch(/roles must alternate user\/assistant/);
  expect((refused as Error).message).not.toMatch(/Jinja|source|line \d|raise_exception/);
  expect(await off.until('template_refused')).toMatchObject({
    model: 'gemma',
    requestId: expect.any(String),
  });
  expect(off.logged('worker_failed_request')).toEqual([]);
});

test('what a template cannot do is not claimed', async () => {
  const facts = async (id: string) => (await client.models.retrieve(id)) as any;
  expect(await facts('gemma')).toMatchObject({
    ...{ object: 'model', state: 'loaded', context_length: 4_096, max_output_tokens: 4_096 },
    ...{ input_modalities: ['text'], capabilities: ['chat', 'completion', 'json_schema'] },
    ...{ size_bytes: expect.any(Number), quantization: expect.any(String), parameters: expect.any(Number) },
  });
  expect((await facts('nemo')).capabilities).toEqual(['chat', 'completion', 'tools', 'json_schema']);
  expect((await facts('oss')).capabilities).toContain('reasoning');
  const both = await facts('both');
  expect(both).toMatchObject({
    members: ['nemo', 'gemma'],
    capabilities: ['chat', 'completion', 'json_schema'],
  });
});

const colour = {
  type: 'object',
  properties: { colour: { enum: ['red', 'green'] } },
  required: ['colour'],
  additionalProperties: false,
};

test.each<[title: string, more: object]>([
  ['alone', {}],
  ['beside tools', { tools }],
  ['as a stream', { stream: true }],
])('a schema that the handler of Kimi K2 ignores is enforced: %s', async (_, more) => {
  const reply = await post({
    ...{ model: 'kimi', ...user('Name a colour'), ...more },
    response_format: { type: 'json_schema', json_schema: { name: 'colour', schema: colour } },
  });
  expect(reply.status).toBe(200);
  const said = reply.text.startsWith('{') ? json(reply).choices[0].message.content : streamed(reply.text);
  expect(JSON.parse(said)).toEqual({ colour: expect.stringMatching(/^(red|green)$/) });
});

/** The text of a streamed reply. */
const streamed = (text: string): string =>
  [...text.matchAll(/^data: (\{.*)$/gm)]
    .map(([, data]) => JSON.parse(data!).choices[0]?.delta.content ?? '')
    .join('');

test.each(['required', { type: 'function', function: { name: 'get_time' } }])(
  'a call that Mistral Nemo puts off by talking is made: %j',
  async (tool_choice) => {
    const ask = { model: 'nemo', ...user('What time is it?'), tools, tool_choice, max_tokens: 128 };
    const { choices } = json(await post(ask));
    expect(choices[0].finish_reason).toBe('tool_calls');
    const [call] = choices[0].message.tool_calls;
    expect(call.function.name).toMatch(
      typeof tool_choice === 'string' ? /^get_(time|weather)$/ : /^get_time$/,
    );
    expect(Object.keys(JSON.parse(call.function.arguments))).toEqual(['city']);
  },
);

const hello = { model: 'oss', ...user('Hello') };

test('a reply that does not have the form of its template is delivered as text, and says so', async () => {
  const whole = await post(hello);
  expect(whole.status).toBe(200);
  expect(whole.headers['x-reply-unparsed']).toBe('true');
  const { content } = json(whole).choices[0].message;
  expect(content).not.toBe('');
  const { text } = await post({ ...hello, stream: true });
  expect(streamed(text)).toBe(content);
  expect(text).toMatch(
    /\n\n: the reply does not have the form .*\n\ndata: .*"finish_reason":"(stop|length)".*\n\ndata: \[DONE\]/,
  );
});

test('and is an error if a call was asked for that it has no room for', async () => {
  const reply = await post({ ...hello, tools, tool_choice: 'required' });
  expect(reply.status).toBe(502);
  expect(json(reply).error).toMatchObject({
    code: 'invalid_response',
    message: expect.stringContaining('max_tokens'),
  });
});

test('a reply to an adapted conversation is resumed by another worker', async () => {
  const ask = { model: 'gemma', messages: conversation, max_tokens: 200, temperature: 0, stream: true };
  const whole = await post(ask);
  const reply = await begun(live, CHAT, ask);
  killWorkers(live);
  expect(streamed((await reply.reply).text)).toBe(streamed(whole.text));
  expect(streamed(whole.text)).not.toBe('');
});
