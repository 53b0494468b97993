import type { JsonObject, ReplyEvent } from '../../../src/contract.js';
import { ReplyReader, type Chunk } from '../../../src/backends/reply-reader.js';
import { parseChunk } from '../../../src/backends/remote/parse-chunk.js';

const delta = (value: object, finish_reason: string | null = null) => ({
  choices: [{ index: 0, delta: value, finish_reason }],
});
const text = (content: string): ReplyEvent => ({ type: 'text', index: 0, text: content });
const body = { messages: [{ role: 'user', content: 'x'.repeat(396) }] };

/** A reader that keeps what it passes on. */
function reader(more: JsonObject = {}) {
  const events: ReplyEvent[] = [];
  const begins: number[] = [];
  const made = new ReplyReader({ ...body, ...more }, { event: (event) => void events.push(event) }, () =>
    begins.push(events.length),
  );
  return Object.assign(made, { events, begins });
}

/** Reads chunks and returns their events. */
function read(made: ReturnType<typeof reader>, ...chunks: unknown[]): ReplyEvent[] {
  const before = made.events.length;
  for (const chunk of chunks) made.chunk(chunk as Chunk);
  return made.events.slice(before);
}

/** The usage at the end of a reply. */
function usageOf(made: ReturnType<typeof reader>, carried = 0): ReplyEvent | undefined {
  made.end(carried);
  return made.events.at(-1);
}

test('usage in every chunk is passed on once, the last one', () => {
  const made = reader();
  const events = read(
    made,
    { ...delta({ content: 'a' }), usage: { prompt_tokens: 3, completion_tokens: 1 } },
    { ...delta({}, 'stop'), usage: { prompt_tokens: 3, completion_tokens: 2 } },
  );
  expect(events.map((event) => event.type)).toEqual(['prefill', 'text', 'finish']);
  const usage = { promptTokens: 3, completionTokens: 2, cachedTokens: 0 };
  expect(usageOf(made)).toEqual({ type: 'usage', usage });
});

test('a second finish, and text after the first, are dropped', () => {
  const events = read(reader(), delta({ content: 'a' }, 'length'), delta({ content: 'b' }, 'stop'));
  expect(events).toEqual([
    { type: 'prefill', promptTokens: 100 },
    text('a'),
    { type: 'finish', index: 0, reason: 'length' },
  ]);
});

test('reasoning and tool calls count as tokens', () => {
  const made = reader();
  expect(made.begun).toBe(false);
  read(made, { prompt_progress: { total: 3 } });
  expect([made.begun, made.begins]).toEqual([false, []]);
  const call = { index: 0, id: 'c', function: { name: 'f', arguments: '{' } };
  read(made, delta({ reasoning: 'hm' }), delta({ tool_calls: [call] }));
  // Called once, after the first token was passed on.
  expect([made.begun, made.begins]).toEqual([true, [2]]);
  expect(usageOf(made)).toMatchObject({ usage: { completionTokens: 2 } });
});

test('prefill progress gives the prompt’s tokens when there is no usage', () => {
  const made = reader();
  expect(read(made, { prompt_progress: { total: 12 }, choices: [] })).toEqual([
    { type: 'prefill', promptTokens: 12 },
  ]);
  expect(usageOf(made)).toMatchObject({ usage: { promptTokens: 12, completionTokens: 0 } });
});

test.each([
  delta({ tool_calls: [{ index: 'x' }] }),
  delta({ tool_calls: 5 }),
  delta({ content: [{ type: 'text' }] }),
  { usage: { prompt_tokens: -1, completion_tokens: 1e99 } },
  { prompt_progress: { total: 'many' } },
  ...[[{ token: 5, logprob: 0 }], [{ token: 'a', logprob: 0, top_logprobs: 5 }], 'many'].map((content) => ({
    choices: [{ delta: { content: 'a' }, logprobs: { content } }],
  })),
  delta({ tool_calls: Array.from({ length: 129 }, () => ({})) }),
  delta({ tool_calls: [{ index: 0, id: 'x'.repeat(20_000) }] }),
])('%j is not a chunk', (chunk) => {
  expect(() => read(reader(), chunk)).toThrow('sent something that is not part of a reply');
});

const provider = { name: 'far', clean: (text: string) => text, hasKey: false };

test('JSON that is not an object is not a chunk', () => {
  const message = 'The provider far sent something that is not part of a reply';
  expect(() => parseChunk(provider, 'null')).toThrow(message);
});

test('a prompt without a count is estimated before the first token and, without usage, at the end', () => {
  const made = reader();
  expect(read(made, delta({ role: 'assistant' }))).toEqual([]);
  expect(read(made, delta({ content: 'a' }))[0]).toEqual({ type: 'prefill', promptTokens: 100 });
  expect(read(made, delta({ content: 'b' }))).toHaveLength(1);
  expect(usageOf(made)).toMatchObject({ usage: { promptTokens: 100, completionTokens: 2 } });
});

test.each([
  ['are passed on if requested', { logprobs: true }, true],
  ['are passed on if requested without alternatives to a raw prompt', { logprobs: 0 }, true],
  ['are dropped by default', {}, false],
  ['are dropped if declined', { logprobs: false }, false],
])('log probabilities %s', (_, more, there) => {
  const logprobs = [{ token: 'a', logprob: -1, bytes: [97], top_logprobs: [{ token: 'b', logprob: -2 }] }];
  const made = reader(more);
  const chunk = { choices: [{ delta: { content: 'a' }, logprobs: { content: logprobs } }] };
  expect(read(made, chunk)[1]).toEqual({ type: 'text', index: 0, text: 'a', ...(there ? { logprobs } : {}) });
});

test('tool calls are numbered as they appear', () => {
  const call = (index: number) => delta({ tool_calls: [{ index, function: { arguments: '1' } }] });
  const events = read(reader(), call(60_000_000), call(7), call(60_000_000), call(0));
  const numbers = events.flatMap((event) => (event.type === 'tool_call' ? event.call.index : []));
  expect(numbers).toEqual([0, 1, 0, 2]);
});

test('more than 128 tool calls break the reply', () => {
  const made = reader();
  const call = (index: number) => delta({ tool_calls: [{ index }] });
  for (let index = 0; index < 128; index += 1) read(made, call(index));
  expect(() => read(made, call(128))).toThrow('made more than 128 tool calls');
});

test.each([
  ['text', (text: string) => delta({ content: text })],
  ['reasoning', (text: string) => delta({ reasoning_content: text })],
  ['arguments', (text: string) => delta({ tool_calls: [{ index: 0, function: { arguments: text } }] })],
])('a reply with %s of more than 16 Mi characters is broken', (_, chunk) => {
  const made = reader();
  const long = chunk('x'.repeat(4 * 1024 * 1024));
  read(made, long, long, long, long);
  expect(() => read(made, chunk('x'))).toThrow('sent a reply of more than 16 Mi characters');
});

test('a reply that is far longer than max_tokens is broken', () => {
  const made = reader({ max_tokens: 10 });
  const chunk = delta({ content: 'a' });
  for (let count = 0; count < 65_536 + 160; count += 1) made.chunk(chunk);
  expect(() => made.chunk(chunk)).toThrow('sent far more tokens than max_tokens');
});

test.each<[string, JsonObject, object]>([
  ['nothing', {}, { delta: {} }],
  ['unrequested log probabilities', {}, { delta: {}, logprobs: { content: [{ token: '', logprob: 0 }] } }],
  [
    'log probabilities only',
    { logprobs: true },
    { delta: { content: '' }, logprobs: { content: [{ token: '', logprob: 0 }] } },
  ],
  ['parts of calls without content', {}, { delta: { tool_calls: [{ index: 0 }] } }],
])('events with %s are let through up to 10,000 in a row', (_, body, choice) => {
  const made = reader(body);
  const empty = { choices: [choice] };
  const some = (count: number) => Array.from({ length: count }, () => made.chunk(empty));
  some(10_000);
  read(made, delta({ content: 'a' }));
  some(10_000);
  expect(() => made.chunk(empty)).toThrow('sent 10000 events in a row without content');
});

describe('the events', () => {
  test('contain prefill progress once, and neither roles nor empty deltas', () => {
    const progress = { prompt_progress: { total: 9, cache: 0, processed: 4 }, choices: [] };
    const role = delta({ role: 'assistant', content: null });
    const events = read(reader(), progress, progress, role, delta({ content: '' }));
    expect(events).toEqual([{ type: 'prefill', promptTokens: 9 }]);
  });

  test('contain text, reasoning under both names, finish and usage', () => {
    const made = reader();
    const prompt_tokens_details = { cached_tokens: 3 };
    read(
      made,
      { prompt_progress: { total: 1 } },
      delta({ reasoning_content: 'a' }),
      delta({ reasoning: 'b' }),
      delta({ content: 'c' }),
      delta({}, 'function_call'),
      { choices: [], usage: { prompt_tokens: 1, completion_tokens: 2, prompt_tokens_details } },
    );
    made.end();
    expect(made.events).toEqual([
      { type: 'prefill', promptTokens: 1 },
      { type: 'reasoning', index: 0, text: 'a' },
      { type: 'reasoning', index: 0, text: 'b' },
      text('c'),
      { type: 'finish', index: 0, reason: 'tool_calls' },
      { type: 'usage', usage: { promptTokens: 1, completionTokens: 2, cachedTokens: 3 } },
    ]);
  });

  test('contain the log probability of an empty token', () => {
    const logprobs = { content: [{ token: '', logprob: 0 }] };
    const [, event] = read(reader({ logprobs: true }), { choices: [{ delta: { content: '' }, logprobs }] });
    expect(event).toEqual({ ...text(''), logprobs: [{ token: '', logprob: 0 }] });
  });

  test('give an id to a tool call without one', () => {
    const [, first, second] = read(
      reader(),
      delta({ tool_calls: [{ index: 0, id: '', function: { name: 'f', arguments: '' } }] }),
      delta({ tool_calls: [{ index: 0, function: { arguments: '{' } }] }),
    );
    const id = expect.stringMatching(/^call_\w{32}$/);
    expect(first).toMatchObject({ call: { index: 0, id, name: 'f' } });
    expect(second).toEqual({ type: 'tool_call', index: 0, call: { index: 0, arguments: '{' } });
  });
});

test('a reply without tokens begins with its finish, and is then complete', () => {
  const made = reader();
  expect(() => made.checkFinished()).toThrow('ended its reply before it was finished');
  read(made, delta({}, 'stop'));
  expect(made.begins).toEqual([2]);
  expect(() => made.checkFinished()).not.toThrow();
});

test('an error of the sink is thrown, and the reply has not begun', () => {
  const begins: number[] = [];
  const sink = {
    event: ({ type }: ReplyEvent) => {
      if (type === 'text') throw new Error('the sink is full');
    },
  };
  const made = new ReplyReader(body, sink, () => begins.push(1));
  expect(() => made.event(text('a'))).toThrow('the sink is full');
  expect(begins).toEqual([]);
});

test('the usage of a resumed reply counts the original prompt and all tokens', () => {
  const made = reader();
  made.event({ type: 'prefill', promptTokens: 10 });
  made.event(text('a'));
  made.event(text('b'));
  const carried = made.tokens;
  made.event(text('c'));
  made.event({ type: 'usage', usage: { promptTokens: 12, completionTokens: 1, cachedTokens: 11 } });
  const usage = { promptTokens: 10, completionTokens: 3, cachedTokens: 10 };
  expect(usageOf(made, carried)).toEqual({ type: 'usage', usage });
});
