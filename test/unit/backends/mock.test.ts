import type { JsonObject, ReplyEvent } from '../../../src/contract.js';
import { MockBackend } from '../../../src/backends/mock/backend.js';
import { Collector } from '../../../src/dialects/shared/collect.js';
import { compileSchema } from '../../../src/dialects/shared/json-schema.js';
import { testContext } from '../../support/pulled.js';

const messages = [{ role: 'user', content: 'CANARY' }];

function run(body: JsonObject, signal = new AbortController().signal): AsyncGenerator<ReplyEvent> {
  return new MockBackend().generate({ kind: 'chat', n: 1, body }, testContext({ signal }));
}

const answer = async (body: JsonObject) => {
  const collector = new Collector(1);
  for await (const event of run(body)) collector.event(event);
  const { choices, usage } = collector.collected();
  return { choice: choices[0]!, usage };
};

test('says that it is a mock, always the same, nothing of the prompt', async () => {
  const { choice } = await answer({ messages });
  expect(choice.text).toContain('mock');
  expect(choice.text).not.toContain('CANARY');
  expect(choice.finishReason).toBe('stop');
  expect(await answer({ messages })).toEqual(await answer({ messages }));
  expect((await answer({ prompt: 'CANARY' })).choice.text).toBe(choice.text);
});

test('streams word by word, the prefill first, the usage last', async () => {
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

test('counts a longer prompt as more tokens', async () => {
  const short = await answer({ prompt: 'a' });
  const long = await answer({ prompt: 'a'.repeat(400) });
  expect(short.usage.promptTokens).toBe(1);
  expect(long.usage.promptTokens).toBe(100);
});

test('stops at max_tokens and says so', async () => {
  const { choice, usage } = await answer({ messages, max_tokens: 2 });
  expect(choice.text.split(' ')).toHaveLength(2);
  expect(choice.finishReason).toBe('length');
  expect(usage.completionTokens).toBe(2);
});

test('stops when the client goes', async () => {
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
  const person = {
    type: 'object',
    properties: { name: { type: 'string', minLength: 6 } },
    required: ['name'],
  };
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
  ])('json_schema: %s that fits', async (_name, schema) => {
    const format = { type: 'json_schema', json_schema: { schema } };
    const { choice } = await answer({ messages, response_format: format });
    expect(compileSchema(schema)(JSON.parse(choice.text))).toBeUndefined();
  });

  test('json_object is an object', async () => {
    const { choice } = await answer({ messages, response_format: { type: 'json_object' } });
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
  ])('a schema that %s comes to an end', async (_name, schema) => {
    const format = { type: 'json_schema', json_schema: { schema } };
    const { choice } = await answer({ messages, response_format: format });
    expect(JSON.parse(choice.text)).toBeDefined();
  });
});

describe('tools', () => {
  const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
  const tools = [
    { type: 'function', function: { name: 'weather', parameters } },
    { type: 'function', function: { name: 'time' } },
  ];

  test('required calls the first, with arguments that fit', async () => {
    const { choice } = await answer({ messages, tools, tool_choice: 'required' });
    expect(choice).toMatchObject({ text: '', finishReason: 'tool_calls' });
    expect(choice.toolCalls).toEqual([{ id: 'call_mock', name: 'weather', arguments: '{"city":"mock"}' }]);
  });

  test('a named one is called', async () => {
    const choice = { type: 'function', function: { name: 'time' } };
    const reply = await answer({ messages, tools, tool_choice: choice });
    expect(reply.choice.toolCalls).toEqual([{ id: 'call_mock', name: 'time', arguments: '{}' }]);
  });

  test.each(['auto', 'none', undefined])('%s answers with text', async (choice) => {
    const body: JsonObject = { messages, tools, ...(choice === undefined ? {} : { tool_choice: choice }) };
    const reply = await answer(body);
    expect(reply.choice.toolCalls).toEqual([]);
    expect(reply.choice.text).toContain('mock');
  });
});

test('is ready between start and stop', async () => {
  const backend = new MockBackend('fake');
  expect(backend.name).toBe('fake');
  expect(backend.status().ready).toBe(false);
  backend.start();
  expect(backend.status()).toMatchObject({ ready: true, starting: false });
  await backend.stop();
  expect(backend.status().ready).toBe(false);
});
