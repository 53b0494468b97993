import { jest } from '@jest/globals';
import { ReplyReader } from '../../../../src/backends/remote/reply-reader.js';

const provider = { name: 'far', clean: (text: string) => text, hasKey: false };
const body = { messages: [{ role: 'user', content: 'x'.repeat(396) }] };
const reader = (more = {}) => new ReplyReader(provider, { ...body, ...more });
const read = (made: ReplyReader, ...chunks: unknown[]) =>
  chunks.flatMap((chunk) => made.read(JSON.stringify(chunk)));

test('usage that comes with every chunk is told once, the last one', () => {
  const made = reader();
  const events = read(
    made,
    { choices: [{ delta: { content: 'a' } }], usage: { prompt_tokens: 3, completion_tokens: 1 } },
    { choices: [{ delta: {}, finish_reason: 'stop' }], usage: { prompt_tokens: 3, completion_tokens: 2 } },
  );
  expect(events.map((event) => event.type)).toEqual(['prefill', 'text', 'finish']);
  expect(made.usage()).toEqual({
    type: 'usage',
    usage: { promptTokens: 3, completionTokens: 2, cachedTokens: 0 },
  });
});

test('a second finish and text after the first are dropped', () => {
  const events = read(
    reader(),
    { choices: [{ delta: { content: 'a' }, finish_reason: 'length' }] },
    { choices: [{ delta: { content: 'b' }, finish_reason: 'stop' }] },
  );
  expect(events).toEqual([
    { type: 'prefill', promptTokens: 100 },
    { type: 'text', index: 0, text: 'a' },
    { type: 'finish', index: 0, reason: 'length' },
  ]);
});

test('reasoning and tool calls are tokens', () => {
  const made = reader();
  expect(made.begun).toBe(false);
  read(
    made,
    { choices: [{ delta: { reasoning: 'hm' } }] },
    {
      choices: [{ delta: { tool_calls: [{ index: 0, id: 'c', function: { name: 'f', arguments: '{' } }] } }],
    },
  );
  expect(made.begun).toBe(true);
  expect(made.usage()).toMatchObject({ usage: { completionTokens: 2 } });
});

test('prefill progress tells the prompt’s tokens where no usage does', () => {
  const made = reader();
  expect(read(made, { prompt_progress: { total: 12 }, choices: [] })).toEqual([
    { type: 'prefill', promptTokens: 12 },
  ]);
  expect(made.usage()).toMatchObject({ usage: { promptTokens: 12, completionTokens: 0 } });
});

test.each([
  { choices: [{ delta: { tool_calls: [{ index: 'x' }] } }] },
  { choices: [{ delta: { tool_calls: 5 } }] },
  { choices: [{ delta: { content: [{ type: 'text' }] } }] },
  { usage: { prompt_tokens: -1, completion_tokens: 1e99 } },
  { prompt_progress: { total: 'many' } },
  { choices: [{ delta: { content: 'a' }, logprobs: { content: [{ token: 5, logprob: 0 }] } }] },
  {
    choices: [
      { delta: { content: 'a' }, logprobs: { content: [{ token: 'a', logprob: 0, top_logprobs: 5 }] } },
    ],
  },
  { choices: [{ delta: { content: 'a' }, logprobs: { content: 'many' } }] },
  { choices: [{ delta: { tool_calls: Array.from({ length: 129 }, () => ({})) } }] },
  { choices: [{ delta: { tool_calls: [{ index: 0, id: 'x'.repeat(20_000) }] } }] },
  null,
])('%j is no chunk', (chunk) => {
  expect(() => read(reader(), chunk)).toThrow('The provider far sent something that is not part of a reply');
});

test('a prompt that nobody has counted is estimated before the first token, and told again without usage', () => {
  const made = reader();
  expect(read(made, { choices: [{ delta: { role: 'assistant' } }] })).toEqual([]);
  expect(read(made, { choices: [{ delta: { content: 'a' } }] })[0]).toEqual({
    type: 'prefill',
    promptTokens: 100,
  });
  expect(read(made, { choices: [{ delta: { content: 'b' } }] })).toHaveLength(1);
  expect(made.usage()).toMatchObject({ usage: { promptTokens: 100, completionTokens: 2 } });
});

test.each([
  ['reach who wanted them', { logprobs: true }, true],
  ['reach who wanted no alternatives to a raw prompt', { logprobs: 0 }, true],
  ['are dropped for others', {}, false],
  ['are dropped for who declined', { logprobs: false }, false],
])('log probabilities %s', (_, more, there) => {
  const logprobs = [{ token: 'a', logprob: -1, bytes: [97], top_logprobs: [{ token: 'b', logprob: -2 }] }];
  const made = reader(more);
  const chunk = { choices: [{ delta: { content: 'a' }, logprobs: { content: logprobs } }] };
  expect(read(made, chunk)[1]).toEqual({ type: 'text', index: 0, text: 'a', ...(there ? { logprobs } : {}) });
});

test('tool calls are numbered as they appear', () => {
  const call = (index: number) => ({
    choices: [{ delta: { tool_calls: [{ index, function: { arguments: '1' } }] } }],
  });
  const events = read(reader(), call(60_000_000), call(7), call(60_000_000), call(0));
  expect(events.flatMap((event) => (event.type === 'tool_call' ? event.call.index : []))).toEqual([
    0, 1, 0, 2,
  ]);
});

test('more tool calls than anybody makes break the reply', () => {
  const made = reader();
  const call = (index: number) => ({ choices: [{ delta: { tool_calls: [{ index }] } }] });
  for (let index = 0; index < 128; index += 1) read(made, call(index));
  expect(() => read(made, call(128))).toThrow('The provider far made more than 128 tool calls');
});

test.each([
  ['text', (text: string) => ({ delta: { content: text } })],
  ['reasoning', (text: string) => ({ delta: { reasoning_content: text } })],
  ['arguments', (text: string) => ({ delta: { tool_calls: [{ index: 0, function: { arguments: text } }] } })],
])('%s above 16 Mi characters breaks the reply', (_, choice) => {
  const made = reader();
  const chunk = { choices: [choice('x'.repeat(4 * 1024 * 1024))] };
  read(made, chunk, chunk, chunk, chunk);
  expect(() => read(made, { choices: [choice('x')] })).toThrow('sent a reply of more than 16 Mi characters');
});

test('a reply that goes on far beyond max_tokens is broken off', () => {
  const made = reader({ max_tokens: 10 });
  const chunk = JSON.stringify({ choices: [{ delta: { content: 'a' } }] });
  for (let count = 0; count < 65_536 + 160; count += 1) made.read(chunk);
  expect(() => made.read(chunk)).toThrow('The provider far sent far more tokens than max_tokens');
});

test('events without content are let through up to 10,000 in a row', () => {
  const made = reader();
  const empty = JSON.stringify({ choices: [{ delta: {} }] });
  const some = (count: number) => Array.from({ length: count }, () => made.read(empty));
  some(10_000);
  read(made, { choices: [{ delta: { content: 'a' } }] });
  some(10_000);
  expect(() => made.read(empty)).toThrow('sent 10000 events in a row without content');
});

test('an error that is nested without end is one like any other', () => {
  const deep = (depth: number) => `{"error":{"message":${'['.repeat(depth)}${']'.repeat(depth)}}}`;
  expect(() => reader().read(deep(5_000))).toThrow('The provider far broke off its reply');
});

test.each([
  ['deep', `{"choices":${'['.repeat(10_000)}${']'.repeat(10_000)}}`],
  ['wide', `{"choices":[${'[],'.repeat(100_000)}[]]}`],
])('a large event that is too %s is not parsed', (_, data) => {
  const parse = jest.spyOn(JSON, 'parse');
  try {
    expect(() => reader().read(data)).toThrow('The provider far sent something that is not part of a reply');
    expect(parse).not.toHaveBeenCalled();
  } finally {
    parse.mockRestore();
  }
});
