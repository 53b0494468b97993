import type { JsonObject, ReplyEvent } from '../../../src/contract.js';
import { ReplyReader, type Chunk } from '../../../src/backends/reply-reader.js';
import { parseChunk } from '../../../src/backends/remote/parse-chunk.js';

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

/** Reads chunks and returns the events that came of them. */
function read(made: ReturnType<typeof reader>, ...chunks: unknown[]): ReplyEvent[] {
  const before = made.events.length;
  for (const chunk of chunks) made.chunk(chunk as Chunk);
  return made.events.slice(before);
}

/** The usage that a reply ends with. */
function usageOf(made: ReturnType<typeof reader>, carried = 0): ReplyEvent | undefined {
  made.end(carried);
  return made.events.at(-1);
}

test('usage that comes with every chunk is told once, the last one', () => {
  const made = reader();
  const events = read(
    made,
    { choices: [{ delta: { content: 'a' } }], usage: { prompt_tokens: 3, completion_tokens: 1 } },
    { choices: [{ delta: {}, finish_reason: 'stop' }], usage: { prompt_tokens: 3, completion_tokens: 2 } },
  );
  expect(events.map((event) => event.type)).toEqual(['prefill', 'text', 'finish']);
  expect(usageOf(made)).toEqual({
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
  read(made, { prompt_progress: { total: 3 } });
  expect([made.begun, made.begins]).toEqual([false, []]);
  read(
    made,
    { choices: [{ delta: { reasoning: 'hm' } }] },
    {
      choices: [{ delta: { tool_calls: [{ index: 0, id: 'c', function: { name: 'f', arguments: '{' } }] } }],
    },
  );
  // Told once, when the first token had been passed on.
  expect([made.begun, made.begins]).toEqual([true, [2]]);
  expect(usageOf(made)).toMatchObject({ usage: { completionTokens: 2 } });
});

test('prefill progress tells the prompt’s tokens where no usage does', () => {
  const made = reader();
  expect(read(made, { prompt_progress: { total: 12 }, choices: [] })).toEqual([
    { type: 'prefill', promptTokens: 12 },
  ]);
  expect(usageOf(made)).toMatchObject({ usage: { promptTokens: 12, completionTokens: 0 } });
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
])('%j is not a chunk', (chunk) => {
  expect(() => read(reader(), chunk)).toThrow('sent something that is not part of a reply');
});

const provider = { name: 'far', clean: (text: string) => text, hasKey: false };

test('JSON that is not an object is not a chunk', () => {
  expect(() => parseChunk(provider, 'null')).toThrow(
    'The provider far sent something that is not part of a reply',
  );
});

test('a prompt that nobody has counted is estimated before the first token, and told again without usage', () => {
  const made = reader();
  expect(read(made, { choices: [{ delta: { role: 'assistant' } }] })).toEqual([]);
  expect(read(made, { choices: [{ delta: { content: 'a' } }] })[0]).toEqual({
    type: 'prefill',
    promptTokens: 100,
  });
  expect(read(made, { choices: [{ delta: { content: 'b' } }] })).toHaveLength(1);
  expect(usageOf(made)).toMatchObject({ usage: { promptTokens: 100, completionTokens: 2 } });
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
  expect(() => read(made, call(128))).toThrow('made more than 128 tool calls');
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
  const chunk = { choices: [{ delta: { content: 'a' } }] };
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
  read(made, { choices: [{ delta: { content: 'a' } }] });
  some(10_000);
  expect(() => made.chunk(empty)).toThrow('sent 10000 events in a row without content');
});

describe('what chunks mean', () => {
  const delta = (value: object, finish_reason: string | null = null) => ({
    choices: [{ index: 0, delta: value, finish_reason }],
  });

  test('prefill progress is told once, roles and empty deltas not at all', () => {
    const progress = { prompt_progress: { total: 9, cache: 0, processed: 4 }, choices: [] };
    expect(
      read(reader(), progress, progress, delta({ role: 'assistant', content: null }), delta({ content: '' })),
    ).toEqual([{ type: 'prefill', promptTokens: 9 }]);
  });

  test('text, reasoning under both names, finish, usage', () => {
    const made = reader();
    read(
      made,
      { prompt_progress: { total: 1 } },
      delta({ reasoning_content: 'a' }),
      delta({ reasoning: 'b' }),
      delta({ content: 'c' }),
      delta({}, 'function_call'),
      {
        choices: [],
        usage: { prompt_tokens: 1, completion_tokens: 2, prompt_tokens_details: { cached_tokens: 3 } },
      },
    );
    made.end();
    expect(made.events).toEqual([
      { type: 'prefill', promptTokens: 1 },
      { type: 'reasoning', index: 0, text: 'a' },
      { type: 'reasoning', index: 0, text: 'b' },
      { type: 'text', index: 0, text: 'c' },
      { type: 'finish', index: 0, reason: 'tool_calls' },
      { type: 'usage', usage: { promptTokens: 1, completionTokens: 2, cachedTokens: 3 } },
    ]);
  });

  test('a token that shows nothing still brings its log probability', () => {
    const logprobs = { content: [{ token: '', logprob: 0 }] };
    expect(read(reader({ logprobs: true }), { choices: [{ delta: { content: '' }, logprobs }] })[1]).toEqual({
      type: 'text',
      index: 0,
      text: '',
      logprobs: [{ token: '', logprob: 0 }],
    });
  });

  test('a tool call without an id gets one', () => {
    const [, first, second] = read(
      reader(),
      delta({ tool_calls: [{ index: 0, id: '', function: { name: 'f', arguments: '' } }] }),
      delta({ tool_calls: [{ index: 0, function: { arguments: '{' } }] }),
    );
    expect(first).toMatchObject({
      call: { index: 0, id: expect.stringMatching(/^call_\w{32}$/), name: 'f' },
    });
    expect(second).toEqual({ type: 'tool_call', index: 0, call: { index: 0, arguments: '{' } });
  });
});

test('a reply begins with its finish where it has no token, and is then complete', () => {
  const made = reader();
  expect(() => made.checkFinished()).toThrow('ended its reply before it was finished');
  read(made, { choices: [{ delta: {}, finish_reason: 'stop' }] });
  expect(made.begins).toEqual([2]);
  expect(() => made.checkFinished()).not.toThrow();
});

test('what the sink throws comes through, and the reply has not begun', () => {
  const begins: number[] = [];
  const sink = {
    event: ({ type }: ReplyEvent) => {
      if (type === 'text') throw new Error('the sink is full');
    },
  };
  const made = new ReplyReader(body, sink, () => begins.push(1));
  expect(() => made.event({ type: 'text', index: 0, text: 'a' })).toThrow('the sink is full');
  expect(begins).toEqual([]);
});

test('the usage of a resumed reply counts the prompt as it was sent and all tokens that came', () => {
  const made = reader();
  made.event({ type: 'prefill', promptTokens: 10 });
  made.event({ type: 'text', index: 0, text: 'a' });
  made.event({ type: 'text', index: 0, text: 'b' });
  const carried = made.tokens;
  made.event({ type: 'text', index: 0, text: 'c' });
  made.event({ type: 'usage', usage: { promptTokens: 12, completionTokens: 1, cachedTokens: 11 } });
  expect(usageOf(made, carried)).toEqual({
    type: 'usage',
    usage: { promptTokens: 10, completionTokens: 3, cachedTokens: 10 },
  });
});
