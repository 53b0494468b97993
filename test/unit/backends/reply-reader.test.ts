import type { JsonObject, ReplyEvent } from '../../../src/contract.js';
import type { Chunk } from '../../../src/backends/chunk.js';
import { ReplyReader } from '../../../src/backends/reply-reader.js';
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
  expect(events.map((event) => event.type)).toEqual(['prefill', 'text']);
  expect(usageOf(made)).toEqual({
    type: 'usage',
    usage: { promptTokens: 3, completionTokens: 2, cachedTokens: 0 },
  });
});

/** Reads chunks of a reply that then ends, and returns its events. */
function readWhole(made: ReturnType<typeof reader>, ...chunks: unknown[]): ReplyEvent[] {
  read(made, ...chunks);
  made.checkFinished();
  made.end();
  return made.events;
}

const said = (content: string, finish_reason?: unknown) => ({
  choices: [{ delta: { content }, finish_reason }],
});

test.each([
  ['once, at the end', [said('a'), said('b', 'stop')], 'stop'],
  ['before more text', [said('a', 'stop'), said('b')], 'stop'],
  ['with each chunk', [said('a', 'stop'), said('b', 'length')], 'length'],
  ['twice, the second time by a proxy', [said('a'), said('b', 'length'), said('', 'stop')], 'length'],
  [
    'without a delta',
    [said('a'), said('b'), { choices: [{ finish_reason: 'content_filter' }] }],
    'content_filter',
  ],
  [
    'beside an empty delta',
    [said('a'), said('b'), { choices: [{ delta: null, finish_reason: 'stop' }] }],
    'stop',
  ],
  ['after empty ones', [said('a', ''), said('b', null), said('', 'null'), said('', 'stop')], 'stop'],
])('a finish reason that comes %s ends the reply, and no text is lost', (_, chunks, reason) => {
  expect(readWhole(reader(), ...chunks)).toEqual([
    { type: 'prefill', promptTokens: 100 },
    { type: 'text', index: 0, text: 'a' },
    { type: 'text', index: 0, text: 'b' },
    { type: 'finish', index: 0, reason },
    { type: 'usage', usage: { promptTokens: 100, completionTokens: 2, cachedTokens: 0 } },
  ]);
});

test.each<[string, JsonObject, object, string | undefined]>([
  ['llama.cpp', { stop: ['a', 'b'] }, { ...said('', 'stop'), __verbose: { stopping_word: 'b' } }, 'b'],
  ['vLLM', { stop: 'b' }, { choices: [{ delta: {}, finish_reason: 'stop', stop_reason: 'b' }] }, 'b'],
  [
    'vLLM, at a token',
    { stop: 'b' },
    { choices: [{ delta: {}, finish_reason: 'stop', stop_reason: 7 }] },
    undefined,
  ],
  [
    'a text that was not asked for',
    {},
    { ...said('', 'stop'), __verbose: { stopping_word: 'b' } },
    undefined,
  ],
  ['nothing', { stop: ['b'] }, { ...said('', 'stop'), __verbose: { stopping_word: '' } }, undefined],
  [
    'a reply that is cut',
    { stop: ['b'] },
    { ...said('', 'length'), __verbose: { stopping_word: 'b' } },
    undefined,
  ],
])('the stop string that ended a reply is passed on: %s', (_name, fields, last, stop) => {
  const finish = readWhole(reader(fields), said('x'), last).find(({ type }) => type === 'finish');
  expect(finish).toEqual({ type: 'finish', index: 0, reason: expect.any(String), ...(stop && { stop }) });
});

test.each([
  ['abort', 'finish reason "abort"'],
  ['the secret plan', 'finish reason of unknown form'],
])('an unknown finish reason breaks the reply and is named if it is a name: %s', (reason, message) => {
  expect(() => read(reader(), said('a', reason))).toThrow(`broke off its reply with a ${message}`);
});

test('text after a finish reason shows that it was not the end, so a cut is a cut', () => {
  const made = reader();
  read(made, said('a', 'stop'));
  expect(made.finished).toBe(true);
  read(made, said('b', 'stop'));
  expect(made.finished).toBe(false);
});

test('reasoning and tool calls are tokens', () => {
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
  { choices: [{ delta: { tool_calls: [{ index: 'x' }] } }] },
  { choices: [{ delta: { tool_calls: 5 } }] },
  { choices: [{ delta: { content: [{ type: 'text' }] } }] },
  { choices: [{ delta: { content: 5 } }] },
  { choices: [{ delta: { content: [[[[[['a']]]]]] } }] },
  { choices: [{ delta: { reasoning: true } }] },
  { choices: { 0: { delta: { content: 'a' } } } },
  { choices: [{ delta: { tool_calls: [null] } }] },
  { choices: [{ delta: { tool_calls: [{ index: -1 }] } }] },
  { choices: [{ delta: { tool_calls: [{ function: { name: 'f', arguments: 5 } }] } }] },
  { choices: [{ delta: { tool_calls: [{ function: { name: 'f', arguments: ['a'] } }] } }] },
  { prompt_progress: { total: 'many' } },
  ...[[{ token: 5, logprob: 0 }], [{ token: 'a', logprob: 0, top_logprobs: 5 }], 'many'].map((content) => ({
    choices: [{ delta: { content: 'a' }, logprobs: { content } }],
  })),
  delta({ tool_calls: Array.from({ length: 129 }, () => ({})) }),
  delta({ tool_calls: [{ index: 0, id: 'x'.repeat(20_000) }] }),
])('%j is not a chunk', (chunk) => {
  expect(() => read(reader(), chunk)).toThrow('sent something that is not part of a reply');
});

const provider = { name: 'far', sent: {}, clean: (text: string) => text, hasKey: false };

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

test.each<[token: string, bytes: number[] | undefined, named: string]>([
  ['', [0xf0, 0x9f], '\\xf0\\x9f'],
  ['\ufffd', [0x80], '\\x80'],
  ['\ufffd', [0xef, 0xbf, 0xbd], '\ufffd'],
  ['', [], ''],
  ['\ufffd', undefined, '\ufffd'],
  ['é', [0xc3, 0xa9], 'é'],
])('an alternative %j of the bytes %j is named %j', (token, bytes, named) => {
  const made = reader({ logprobs: true });
  const content = [{ token: 'a', logprob: -1, top_logprobs: [{ token, logprob: -2, bytes }] }];
  const event = read(made, { choices: [{ delta: { content: 'a' }, logprobs: { content } }] })[1];
  expect(event).toMatchObject({ logprobs: [{ top_logprobs: [{ token: named, logprob: -2 }] }] });
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
    read(
      made,
      { prompt_progress: { total: 1 } },
      delta({ reasoning_content: 'a' }),
      delta({ reasoning: 'b' }),
      delta({ content: 'c' }),
      delta({}, 'length'),
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
      { type: 'finish', index: 0, reason: 'length' },
      { type: 'usage', usage: { promptTokens: 1, completionTokens: 2, cachedTokens: 3 } },
    ]);
  });

  test('contain the log probability of an empty token', () => {
    const logprobs = { content: [{ token: '', logprob: 0 }] };
    const [, event] = read(reader({ logprobs: true }), { choices: [{ delta: { content: '' }, logprobs }] });
    expect(event).toEqual({ type: 'text', index: 0, text: '', logprobs: [{ token: '', logprob: 0 }] });
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

  /** The text and the reasoning of a reply that one choice makes. */
  const texts = (choice: object) => {
    const events = read(reader(), { choices: [choice] });
    const of = (type: string) =>
      events.map((event) => (event.type === type && 'text' in event ? event.text : ''));
    return { text: of('text').join(''), reasoning: of('reasoning').join('') };
  };
  const content = (value: unknown) => ({ delta: { content: value } });
  const text = (value: string) => ({ type: 'text', text: value });

  test.each([
    ['a text', content('a'), 'a', ''],
    ['a text part', content([text('a')]), 'a', ''],
    [
      'several parts',
      content([text('a'), 'b', { text: 'c' }, null, { type: 'output_text', text: 'd' }]),
      'abcd',
      '',
    ],
    ['one part without a list', content(text('a')), 'a', ''],
    ['an empty list', content([]), '', ''],
    ['a part whose text is null', content([{ type: 'text', text: null }]), '', ''],
    ['Mistral’s thoughts', content([{ type: 'thinking', thinking: [text('hm')] }, text('a')]), 'a', 'hm'],
    ['thoughts as a text', content([{ type: 'thinking', thinking: 'hm' }]), '', 'hm'],
    ['a reasoning part', content([{ type: 'reasoning', text: 'hm' }]), '', 'hm'],
    [
      'a summary',
      content([{ type: 'reasoning', summary: [{ type: 'summary_text', text: 'hm' }] }]),
      '',
      'hm',
    ],
    ['thoughts that cannot be read', content([{ type: 'redacted_thinking', data: 'x' }, text('a')]), 'a', ''],
    ['references', content([text('a'), { type: 'reference', reference_ids: [1] }]), 'a', ''],
    ['a refusal part', content([{ type: 'refusal', refusal: 'no' }]), 'no', ''],
    ['a refusal', { delta: { content: null, refusal: 'no' } }, 'no', ''],
    ['a message', { message: { content: 'a', reasoning_content: 'hm' } }, 'a', 'hm'],
    ['a message beside an empty delta', { delta: {}, message: { content: 'a' } }, 'a', ''],
    ['the reply so far beside a delta', { delta: { content: 'b' }, message: { content: 'ab' } }, 'b', ''],
    ['reasoning_content', { delta: { reasoning_content: 'hm' } }, '', 'hm'],
    ['reasoning', { delta: { reasoning_content: '', reasoning: 'hm' } }, '', 'hm'],
    ['reasoning under two names', { delta: { reasoning_content: 'hm', reasoning: 'hm' } }, '', 'hm'],
    ['thinking', { delta: { thinking: 'hm', content: 'a' } }, 'a', 'hm'],
    ['reasoning_text', { delta: { reasoning_text: 'hm' } }, '', 'hm'],
    ['reasoning as parts', { delta: { reasoning: [{ type: 'reasoning.text', text: 'hm' }] } }, '', 'hm'],
    ['no delta', { delta: null, text: null }, '', ''],
  ])('%s', (_, choice, shownText, shownReasoning) => {
    expect(texts(choice)).toEqual({ text: shownText, reasoning: shownReasoning });
  });

  test('reasoning comes before the text of the same chunk', () => {
    const events = read(reader(), delta({ content: 'a', reasoning_content: 'hm' }));
    expect(events.map(({ type }) => type)).toEqual(['prefill', 'reasoning', 'text']);
  });

  test.each(['image_url', 'input_audio', 'tool_use', 5, 'x y'])(
    'a part of type %j is not dropped',
    (type) => {
      expect(() => read(reader(), delta({ content: [{ type, text: 'a' }] }))).toThrow(
        'sent content of a type that is not known here',
      );
    },
  );

  test.each([
    ['the one with number 0', [1, 0], 'b'],
    ['the first without numbers', [undefined, 3], 'a'],
    ['the lowest where there is no 0', [2, 1], 'b'],
    ['one that is null as 0', [1, null], 'b'],
  ])('of several choices counts %s', (_, numbers, expected) => {
    const made = reader();
    const choices = numbers.map((index, at) => ({ index, delta: { content: 'ab'[at] } }));
    read(made, { choices }, { choices: choices.toReversed() });
    expect(made.pieces).toEqual([expected, expected]);
  });

  test.each([
    ['numbers as texts', { usage: { prompt_tokens: '7', completion_tokens: '5' } }, [7, 5, 0]],
    ['nothing but null', { usage: { prompt_tokens: null, completion_tokens: null } }, [100, 1, 0]],
    ['null for one', { usage: { prompt_tokens: 7, completion_tokens: null } }, [7, 1, 0]],
    ['zeros', { usage: { prompt_tokens: 0, completion_tokens: 0 } }, [100, 1, 0]],
    ['impossible numbers', { usage: { prompt_tokens: -1, completion_tokens: 1e99 } }, [100, 1, 0]],
    ['no object', { usage: 'none' }, [100, 1, 0]],
    ['other names', { usage: { input_tokens: 7, output_tokens: 5 } }, [7, 5, 0]],
    ['Groq’s place', { x_groq: { usage: { prompt_tokens: 7, completion_tokens: 5 } } }, [7, 5, 0]],
    [
      'Moonshot’s',
      { choices: [{ usage: { prompt_tokens: 7, completion_tokens: 5, cached_tokens: 3 } }] },
      [7, 5, 3],
    ],
    [
      'DeepSeek’s cache',
      { usage: { prompt_tokens: 7, completion_tokens: 5, prompt_cache_hit_tokens: 3 } },
      [7, 5, 3],
    ],
  ])('usage with %s', (_, chunk, [promptTokens, completionTokens, cachedTokens]) => {
    const made = reader();
    read(made, delta({ content: 'a' }), chunk, delta({}, 'stop'), { choices: [] });
    expect(usageOf(made)).toEqual({ type: 'usage', usage: { promptTokens, completionTokens, cachedTokens } });
  });

  test('usage without numbers does not replace one with numbers', () => {
    const made = reader();
    read(
      made,
      delta({ content: 'a' }, 'stop'),
      { usage: { prompt_tokens: 7, completion_tokens: 5 } },
      { usage: { prompt_tokens: 0, completion_tokens: null } },
    );
    expect(usageOf(made)).toMatchObject({ usage: { promptTokens: 7, completionTokens: 5 } });
  });
});

describe('the end', () => {
  const call = (fragment: string) => ({
    choices: [{ delta: { tool_calls: [{ index: 0, function: { name: 'f', arguments: fragment } }] } }],
  });
  const end = (regular: boolean, ...chunks: unknown[]) => {
    const made = reader();
    read(made, ...chunks);
    made.checkFinished(regular);
    made.end();
    return made.events.at(-2);
  };

  test.each([
    ['text', [said('a')], 'stop'],
    ['a whole call', [call('{"a":1}')], 'tool_calls'],
    ['a call without arguments', [call('')], 'tool_calls'],
  ])('that the server calls regular needs no finish reason after %s', (_, chunks, reason) => {
    expect(end(true, ...chunks)).toEqual({ type: 'finish', index: 0, reason });
  });

  test.each([
    ['nothing', true, []],
    ['an empty text', true, [said('')]],
    ['reasoning alone', true, [{ choices: [{ delta: { reasoning: 'hm' } }] }]],
    ['half a call', true, [call('{"a":')]],
    ['text whose stream just ends', false, [said('a')]],
  ])('without a finish reason after %s is a break', (_, regular, chunks) => {
    expect(() => end(regular, ...chunks)).toThrow('ended its reply before it was finished');
  });

  test.each([
    ['stop', 'tool_calls'],
    ['tool_calls', 'tool_calls'],
    ['function_call', 'tool_calls'],
    ['length', 'length'],
    ['content_filter', 'content_filter'],
  ])('of a reply with a call and the reason %s is %s', (given, reason) => {
    expect(end(false, call('{}'), said('', given))).toEqual({ type: 'finish', index: 0, reason });
  });
});

test('a reply without tokens begins with its finish, and is then complete', () => {
  const made = reader();
  expect(() => made.checkFinished()).toThrow('ended its reply before it was finished');
  read(made, { choices: [{ delta: {}, finish_reason: 'stop' }] });
  expect(made.begun).toBe(true);
  expect(() => made.checkFinished()).not.toThrow();
  made.end();
  expect(made.begins).toEqual([2]);
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
  made.event({ type: 'finish', index: 0, reason: 'stop' });
  expect(usageOf(made, carried)).toEqual({
    type: 'usage',
    usage: { promptTokens: 10, completionTokens: 3, cachedTokens: 10 },
  });
});
