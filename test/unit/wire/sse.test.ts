import { DONE, PING, SseDecoder, StreamTooLong, decodeSse, encodeSse } from '../../../src/wire/sse.js';
import { all, chunks, everySplit, everyTwoSplits } from './splits.js';

/** Two, three and four bytes a character, a joined emoji, a combining mark, an unpaired-looking pair. */
const HARD = 'né – ツ 🦙 👩‍👩‍👧 e\u0301 \u{10ffff}';

const decode = (...parts: (Uint8Array | string)[]): Promise<string[]> => all(decodeSse(chunks(...parts)));

test('what is encoded is decoded, wherever the chunks end', async () => {
  const events = ['{"text":"né 🦙 👩‍👩‍👧"}', '{"text":"a\\nb"}', ' leading blank', '', DONE];
  for (const parts of everySplit(events.map(encodeSse).join(PING)))
    expect(await decode(...parts)).toEqual(events);
});

test('two cuts at once, at event borders and within characters', async () => {
  const text = `${encodeSse('🦙')}\r\n: p\r\ndata:ñ\r\n\r\n`;
  for (const parts of everyTwoSplits(text)) expect(await decode(...parts)).toEqual(['🦙', 'ñ']);
});

test.each([
  ['line ends of \\r\\n', 'data: a\r\n\r\ndata: b\r\n\r\n', ['a', 'b']],
  ['no blank after the colon', 'data:a\n\n', ['a']],
  ['more blanks: one alone is dropped', 'data:  a\n\n', [' a']],
  ['several data lines: joined by line feeds', 'data: a\ndata: b\ndata:\ndata: c\n\n', ['a\nb\n\nc']],
  ['an empty data line', 'data:\n\n', ['']],
  ['comments', ': ping\n\n:\n\ndata: a\n: within\ndata: b\n\n', ['a\nb']],
  ['other fields', 'event: message\nid: 7\nretry: 10\ndata: a\n\n', ['a']],
  ['an event without data', 'event: ping\n\ndata: a\n\n', ['a']],
  ['more blank lines than one', '\n\ndata: a\n\n\n\ndata: b\n\n', ['a', 'b']],
  ['a field that only begins like data', 'database: x\n\ndata: a\n\n', ['a']],
  [
    'a byte order mark, dropped at the start only',
    '\ufeffdata: a\n\n\ufeffdata: b\n\ndata: \ufeffc\n\n',
    ['a', '\ufeffc'],
  ],
  ['a carriage return within a line', 'data: a\rb\n\n', ['a\rb']],
  ['two carriage returns', 'data: a\r\r\n\n', ['a\r']],
  ['separators that are no line feed', 'data: a\u2028b\u0085c\vd\n\n', ['a\u2028b\u0085c\vd']],
  ['characters of many bytes', `data: ${HARD}\n\ndata: ${HARD}\r\n\r\n`, [HARD, HARD]],
])('reads %s', async (_name, text, events) => {
  for (const parts of everySplit(text)) expect(await decode(...parts)).toEqual(events);
});

test.each(['data: {"cut', 'data: whole line\n', 'data: [DONE', ': ping', 'da'])(
  'an event cut off by the end is not yielded: %j',
  async (rest) => {
    for (const parts of everySplit(`data: a\n\n${rest}`)) expect(await decode(...parts)).toEqual(['a']);
  },
);

test.each(['data: [DONE]', 'data: [DONE]\n', 'data:[DONE]\r\n'])(
  'an end of the reply counts without its blank line: %j',
  async (rest) => {
    const text = `data: a\n\n${rest}`;
    for (const parts of everySplit(text)) expect(await decode(...parts)).toEqual(['a', DONE]);
  },
);

test('bytes that are no UTF-8 become replacement characters, not an exception', async () => {
  const bytes = Uint8Array.of(0x61, 0xff, 0xc3, 0x0a, 0x0a);
  expect(await decode('data: ', bytes)).toEqual(['a\ufffd\ufffd']);
});

test('takes text as well', async () => {
  expect(await decode('data: a', 'b\r', '\n\ndata: c', '\n\n')).toEqual(['ab', 'c']);
});

test('leaving early ends the source', async () => {
  let ended = false;
  async function* source(): AsyncGenerator<string> {
    try {
      yield 'data: one\n\ndata: two\n\n';
      yield 'data: three\n\n';
    } finally {
      ended = true;
    }
  }
  for await (const data of decodeSse(source())) {
    expect(data).toBe('one');
    break;
  }
  expect(ended).toBe(true);
});

test('the type of an event comes with its data, and only with it', () => {
  const events: unknown[] = [];
  new SseDecoder().push(
    'event: error\ndata: a\n\ndata: b\nevent:ping\n\nevent: error\n\ndata: c\n\n',
    (...event) => void events.push(event),
  );
  expect(events).toEqual([
    ['a', 'error'],
    ['b', 'ping'],
    ['c', undefined],
  ]);
});

test('what a callback throws is thrown', () => {
  const events = new SseDecoder();
  const onData = () => {
    throw new Error('no more');
  };
  expect(() => events.push('data: a\n\n', onData)).toThrow('no more');
});

test('an event is yielded with its blank line, before the next chunk is asked for', async () => {
  const log: string[] = [];
  async function* source(): AsyncGenerator<string> {
    log.push('ask 1');
    yield 'data: a\n\ndata: b\n';
    log.push('ask 2');
    yield '\n';
  }
  for await (const data of decodeSse(source())) log.push(data);
  expect(log).toEqual(['ask 1', 'a', 'ask 2', 'b']);
});

test('a reset passes through after the events before it', async () => {
  const events: string[] = [];
  async function* source(): AsyncGenerator<string> {
    yield 'data: a\n\ndata: b';
    throw new Error('reset');
  }
  const read = (async () => {
    for await (const data of decodeSse(source())) events.push(data);
  })();
  await expect(read).rejects.toThrow('reset');
  expect(events).toEqual(['a']);
});

test('a ping is a comment, which is no event', async () => {
  expect(await decode(PING, PING)).toEqual([]);
});

test.each([
  ['data lines without a blank line', 'data:x\n'.repeat(1_000)],
  ['empty data lines', 'data:\n'.repeat(1_000)],
  ['long data lines', `data: ${'x'.repeat(100_000)}\n`],
  ['a data line without end', `${'data: x'.repeat(10_000)}`],
  ['a comment without end', `: ${'x'.repeat(100_000)}`],
])('%s, for ever, are refused', async (_name, text) => {
  async function* endless(): AsyncGenerator<string> {
    for (;;) yield text;
  }
  await expect(all(decodeSse(endless()))).rejects.toThrow(StreamTooLong);
});

test('what came before does not count', async () => {
  const long = 'x'.repeat(256 * 1024);
  const events = Array.from({ length: 9 }, () => encodeSse(long));
  expect(await decode(...events)).toHaveLength(9);
});

test('an event is refused above 1 Mi characters, also without an end', async () => {
  const quarter = 'x'.repeat(256 * 1024);
  const parts = (count: number) => Array.from({ length: count }, () => quarter);
  expect((await decode('data:', quarter.slice(5), ...parts(3), '\n\n'))[0]).toHaveLength(1024 * 1024 - 5);
  await expect(decode('data:', ...parts(4))).rejects.toThrow(StreamTooLong);
  await expect(decode(`data:${parts(5).join('')}\n\n`)).rejects.toThrow(StreamTooLong);
});

test('a long event in small chunks comes whole', async () => {
  const piece = '0123456789'.repeat(100);
  const events = await decode('data: ', ...Array<string>(1_000).fill(piece), '\r', '\n\ndata: next\n\n');
  expect(events).toEqual([piece.repeat(1_000), 'next']);
});
