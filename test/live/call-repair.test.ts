import { join } from 'node:path';
import { JsonPrefix } from '../../src/backends/json-prefix.js';
import { ROOT } from '../../src/config/root.js';
import { exchange, get, json } from '../support/exchange.js';
import { listeningPort } from '../harness/processes.js';
import { demoModel, LiveServer, writeConfig } from '../support/live.js';
import { CHAT, KEY, post } from './requests.js';

/** Calls whose arguments are not JSON, on real llama.cpp and the demo model. */

let live: LiveServer;

const folder = join(ROOT, 'vendor/llama.cpp/source/models/templates');
/** It has no form for calls. */
const gemma = { extraArgs: ['--chat-template-file', join(folder, 'google-gemma-2-2b-it.jinja')] };

beforeAll(async () => {
  const models = { plain: demoModel(), gemma: demoModel(gemma) };
  live = await new LiveServer((data) => ({ LMSERV_CONFIG: writeConfig(data, { models }) })).start();
  await live.untilReady(({ workers }) => workers.idle === 2);
});

afterAll(() => live.stop());

/** llama.cpp's grammar of a pattern lets a quote pass unescaped, so that the model cannot but slip behind it. */
const parameters = {
  type: 'object',
  properties: { city: { type: 'string', pattern: '^Li"ma$' } },
  required: ['city'],
};
const name = 'get_weather';
const question = 'What is the weather in Lima?';
const messages = [{ role: 'user', content: question }];
const tools = [{ type: 'function', function: { name, parameters } }];
const common = { model: 'plain', temperature: 0 };
const chat = { ...common, messages, tools, max_tokens: 100 };

/** In each dialect that has tools: the request, and the arguments in its reply and in the events of its stream. */
const DIALECTS: readonly [
  path: string,
  body: object,
  whole: (reply: any) => unknown,
  fragment: (event: any) => unknown,
][] = [
  [
    CHAT,
    chat,
    ({ choices }) => choices[0].message.tool_calls[0].function.arguments,
    ({ choices }) => choices?.[0]?.delta.tool_calls?.[0].function.arguments,
  ],
  [
    '/v1/responses',
    { ...common, input: question, tools: [{ type: 'function', name, parameters }], max_output_tokens: 100 },
    ({ output }) => output.find(({ type }: { type: string }) => type === 'function_call').arguments,
    ({ type, delta }) => (type === 'response.function_call_arguments.delta' ? delta : undefined),
  ],
  [
    '/v1/messages',
    { ...common, messages, tools: [{ name, input_schema: parameters }], max_tokens: 100 },
    ({ content }) => JSON.stringify(content.find(({ type }: { type: string }) => type === 'tool_use').input),
    ({ delta }) => delta?.partial_json,
  ],
];

describe.each(DIALECTS)('in the dialect of %s', (path, body, whole, fragment) => {
  test('the arguments of a reply are repaired', async () => {
    const reply = await post(live, path, body);
    expect(reply.status).toBe(200);
    expect(JSON.parse(whole(json(reply)) as string)).toEqual({ city: 'Li' });
  });

  test('the arguments of a stream are repaired, after what was sent of them', async () => {
    const { text } = await post(live, path, { ...body, stream: true });
    const events = [...text.matchAll(/^data: (\{.*)$/gm)].map(([, data]) => JSON.parse(data!));
    const fragments = events.flatMap((event) => (fragment(event) as string | undefined) ?? []);
    expect(JSON.parse(fragments.join(''))).toEqual({ city: 'Li' });
    expect(fragments.length).toBeGreaterThan(3);
  });
});

test.each([
  ['a call that is demanded', { ...chat, tool_choice: 'required' }],
  ['a call that is forced without the handler', { ...chat, model: 'gemma', tool_choice: 'required' }],
])('%s is repaired', async (_, body) => {
  const { choices, usage } = json(await post(live, CHAT, body));
  expect(choices[0].finish_reason).toBe('tool_calls');
  const [call] = choices[0].message.tool_calls;
  expect(JSON.parse(call.function.arguments)).toEqual({ city: 'Li' });
  expect(usage.completion_tokens).toBeLessThan(60);
});

test('repaired arguments have no keys but those of their schema', async () => {
  const others = { ...parameters.properties, unit: { enum: ['C', 'F'] }, 'say "when"': { type: 'string' } };
  const tool = { type: 'function', function: { name, parameters: { ...parameters, properties: others } } };
  for (const seed of [1, 2, 3, 4]) {
    const asked = {
      ...chat,
      tools: [tool],
      tool_choice: 'required',
      temperature: 1.5,
      seed,
      max_tokens: 300,
    };
    const [choice] = json(await post(live, CHAT, asked)).choices;
    if (choice.finish_reason === 'length') continue;
    const given = JSON.parse(choice.message.tool_calls[0].function.arguments);
    expect(Object.keys(others)).toEqual(expect.arrayContaining(Object.keys(given)));
    expect(given.city).toBe('Li');
  }
});

test('the prompt of a repaired reply counts once', async () => {
  const { usage } = json(await post(live, CHAT, chat));
  const { usage: without } = json(await post(live, CHAT, { ...chat, max_tokens: 1 }));
  expect(usage.prompt_tokens).toBe(without.prompt_tokens);
});

test('arguments that max_tokens cut are delivered as they are', async () => {
  const { choices } = json(await post(live, CHAT, { ...chat, max_tokens: 18 }));
  expect(choices[0].finish_reason).toBe('length');
  expect(choices[0].message.tool_calls[0].function.arguments).toMatch(/^\{/);
});

test('repairs are counted in the request log and the metrics', async () => {
  const counted = live.next('request');
  await post(live, CHAT, chat);
  expect(await counted).toMatchObject({ repairs: 1, finishReason: 'tool_calls' });
  const { text } = await get(`${live.url}/metrics`, KEY);
  expect(text).toMatch(/lmserv_call_slips_total\{model="plain",outcome="repaired"\} [1-9]/);
});

test('llama.cpp bounds the rest of arguments by their schema, if what stands begins it', async () => {
  const url = `http://127.0.0.1:${listeningPort(live.workerPids()[0]!)}/v1/completions`;
  const json_schema = {
    type: 'object',
    properties: { city: { enum: ['Lima', 'Cusco'] } },
    required: ['city'],
  };
  const asked = { prompt: 'x', json_schema, max_tokens: 20 };
  const goOn = (generation_prompt: string) => exchange(url, { body: { ...asked, generation_prompt } });
  expect(json(await goOn('{"city": "Cu')).choices[0].text).toMatch(/^sco"\s*\}\s*$/);
  expect((await goOn('{"town": "Cu')).status).toBe(400);
});

test('llama.cpp goes on in JSON from wherever it broke off', async () => {
  const text = '{"a": [1, -2.5e+1, "\\u00e9\\n", true, null, {}], "b": {"c": ""}}';
  for (let cut = 1; cut < text.length; cut += 1) {
    const before = text.slice(0, cut);
    const prefix = new JsonPrefix();
    expect(prefix.add(before)).toBe(true);
    const grammar = prefix.grammar();
    const raw = { model: 'plain', prompt: before, grammar, max_tokens: 60, seed: cut };
    const [choice] = json(await post(live, '/v1/completions', raw)).choices;
    expect(prefix.add(choice.text)).toBe(true);
    if (choice.finish_reason === 'stop') expect(() => JSON.parse(before + choice.text)).not.toThrow();
  }
});
