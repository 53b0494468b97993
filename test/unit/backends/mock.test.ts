import type { JsonObject, ReplyEvent } from '../../../src/contract.js';
import { MockBackend } from '../../../src/backends/mock/backend.js';
import { Collector } from '../../../src/dialects/shared/collect.js';
import { compileSchema } from '../../../src/dialects/shared/json-schema.js';
import { testContext } from '../../support/pulled.js';

const messages = [{ role: 'user', content: 'CANARY' }];

function run(body: JsonObject, signal = new AbortController().signal): AsyncGenerator<ReplyEvent> {
  return new MockBackend().generate({ kind: 'chat', n: 1, body }, testContext({ signal }));
}

const reply = async (body: JsonObject) => {
  const collector = new Collector(1);
  for await (const event of run(body)) collector.event(event);
  const { choices, usage } = collector.collected();
  return { choice: choices[0]!, usage };
};

test('the mock always gives the same reply, which says so and contains nothing of the prompt', async () => {
  const { choice } = await reply({ messages });
  expect(choice.text).toContain('mock');
  expect(choice.text).not.toContain('CANARY');
  expect(choice.finishReason).toBe('stop');
  expect(await reply({ messages })).toEqual(await reply({ messages }));
  expect((await reply({ prompt: 'CANARY' })).choice.text).toBe(choice.text);
});

test('the mock streams word by word, prefill first, usage last', async () => {
  const events: ReplyEvent[] = [];
  for await (const event of run({ messages })) events.push(event);
  const texts = events.filter((event) => event.type === 'text');
  expect(texts.length).toBeGreaterThan(5);
  expect(events[0]!.type).toBe('prefill');
  expect(events.slice(-2)).toEqual([
    { type: 'finish', index: 0, reason: 'stop' },
    {
      type: 'usage',
      usage: { promptTokens: expect.any(Number), completionTokens: texts.length, cachedTokens: 0 },
    },
  ]);
});

test('a longer prompt has more tokens', async () => {
  const short = await reply({ prompt: 'a' });
  const long = await reply({ prompt: 'a'.repeat(400) });
  expect(short.usage.promptTokens).toBe(1);
  expect(long.usage.promptTokens).toBe(100);
});

test('the mock stops at max_tokens, with the finish reason length', async () => {
  const { choice, usage } = await reply({ messages, max_tokens: 2 });
  expect(choice.text.split(' ')).toHaveLength(2);
  expect(choice.finishReason).toBe('length');
  expect(usage.completionTokens).toBe(2);
});

test('the mock stops when the client leaves', async () => {
  const gone = new AbortController();
  const events = run({ messages }, gone.signal);
  await events.next();
  await events.next();
  const reason = new Error('gone');
  gone.abort(reason);
  await expect(events.next()).rejects.toBe(reason);
  await expect(run({ messages }, gone.signal).next()).rejects.toBe(reason);
});

describe('response_format', () => {
  const jsonReply = async (schema: JsonObject): Promise<unknown> => {
    const format = { type: 'json_schema', json_schema: { schema } };
    return JSON.parse((await reply({ messages, response_format: format })).choice.text);
  };
  const name = { type: 'string', minLength: 6 };
  const person = { type: 'object', properties: { name }, required: ['name'] };
  test.each<[string, JsonObject]>([
    ['an object', person],
    [
      'lists, bounds, choices',
      {
        type: 'object',
        properties: {
          list: { type: 'array', minItems: 2, items: { type: 'integer', minimum: 3 } },
          more: { type: 'number', exclusiveMinimum: 0 },
          less: { type: 'number', maximum: -2 },
          pick: { enum: ['a', 'b'] },
          fixed: { const: 7 },
          either: { anyOf: [{ type: 'boolean' }, { type: 'string' }] },
          nothing: { type: ['null', 'string'] },
          short: { type: 'string', maxLength: 2 },
        },
        required: ['list', 'more', 'less', 'pick', 'fixed', 'either', 'nothing', 'short'],
        additionalProperties: false,
      },
    ],
    [
      'references',
      {
        $defs: { 'a/b': person },
        type: 'object',
        properties: { p: { $ref: '#/$defs/a~1b' } },
        required: ['p'],
      },
    ],
  ])('of a json_schema gives a fitting reply: %s', async (_, schema) => {
    expect(compileSchema(schema)(await jsonReply(schema))).toBeUndefined();
  });

  test('of json_object gives an object', async () => {
    const { choice } = await reply({ messages, response_format: { type: 'json_object' } });
    expect(JSON.parse(choice.text)).toEqual({});
  });

  test.each<[string, JsonObject]>([
    ['refers to itself', { $defs: { a: { $ref: '#/$defs/a' } }, $ref: '#/$defs/a' }],
    [
      'refers to itself twice',
      { type: 'object', properties: { a: { $ref: '#' }, b: { $ref: '#' } }, required: ['a', 'b'] },
    ],
    [
      'asks for lists of lists',
      { type: 'array', minItems: 1e9, items: { type: 'array', minItems: 1e9, items: {} } },
    ],
  ])('of a schema that %s gives a finite reply', async (_, schema) => {
    expect(await jsonReply(schema)).toBeDefined();
  });
});

describe('tools', () => {
  const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
  const tools = [
    { type: 'function', function: { name: 'weather', parameters } },
    { type: 'function', function: { name: 'time' } },
  ];

  test('that are required call the first tool, with fitting arguments', async () => {
    const { choice } = await reply({ messages, tools, tool_choice: 'required' });
    expect(choice).toMatchObject({ text: '', finishReason: 'tool_calls' });
    expect(choice.toolCalls).toEqual([{ id: 'call_mock', name: 'weather', arguments: '{"city":"mock"}' }]);
  });

  test('with a named choice call that tool', async () => {
    const choice = { type: 'function', function: { name: 'time' } };
    const { toolCalls } = (await reply({ messages, tools, tool_choice: choice })).choice;
    expect(toolCalls).toEqual([{ id: 'call_mock', name: 'time', arguments: '{}' }]);
  });

  test.each(['auto', 'none', undefined])('with the choice %s give a text', async (choice) => {
    const body: JsonObject = { messages, tools, ...(choice === undefined ? {} : { tool_choice: choice }) };
    const { toolCalls, text } = (await reply(body)).choice;
    expect(toolCalls).toEqual([]);
    expect(text).toContain('mock');
  });
});

test('the mock is ready between start and stop', async () => {
  const backend = new MockBackend('fake');
  expect(backend.name).toBe('fake');
  expect(backend.status().ready).toBe(false);
  backend.start();
  expect(backend.status()).toMatchObject({ ready: true, starting: false });
  await backend.stop();
  expect(backend.status().ready).toBe(false);
});
