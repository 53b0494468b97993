import { splitLines, StreamTooLong } from '../../../src/wire/lines.js';
import { all, chunks, everySplit, everyTwoSplits } from './splits.js';

/** Two, three and four bytes a character, a joined emoji, a combining mark, an unpaired-looking pair. */
const HARD = 'né – ツ 🦙 👩‍👩‍👧 e\u0301 \u{10ffff}';

test.each([
  ['line feeds', 'a\nb\n', ['a', 'b']],
  ['carriage returns before them', 'a\r\nb\r\n', ['a', 'b']],
  ['both, mixed', 'a\r\nb\nc\r\n', ['a', 'b', 'c']],
  ['empty lines', '\n\r\n\na\n', ['', '', '', 'a']],
  ['a carriage return within a line', 'a\rb\n', ['a\rb']],
  ['two carriage returns', 'a\r\r\n', ['a\r']],
  ['separators that are no line feed', 'a\u2028b\u0085c\vd\n', ['a\u2028b\u0085c\vd']],
  ['characters of many bytes', `${HARD}\n${HARD}\r\n`, [HARD, HARD]],
  ['a byte order mark, dropped at the start only', '\ufeffa\n\ufeffb\n', ['a', '\ufeffb']],
])('splits at %s wherever the chunks end', async (_name, text, lines) => {
  for (const parts of everySplit(text)) expect(await all(splitLines(chunks(...parts)))).toEqual(lines);
});

test('two cuts at once, within one character too', async () => {
  for (const parts of everyTwoSplits('🦙\r\nñ\n')) {
    expect(await all(splitLines(chunks(...parts)))).toEqual(['🦙', 'ñ']);
  }
});

test.each(['', 'a', 'a\r', '🦙'])(
  'a last line without a line feed was cut and is not yielded: %j',
  async (rest) => {
    for (const parts of everySplit(`one\n${rest}`))
      expect(await all(splitLines(chunks(...parts)))).toEqual(['one']);
  },
);

test('bytes that are no UTF-8 become replacement characters, not an exception', async () => {
  const bytes = Uint8Array.of(0x61, 0xff, 0xc3, 0x0a, 0x62, 0x0a);
  expect(await all(splitLines(chunks(bytes)))).toEqual(['a\ufffd\ufffd', 'b']);
});

test('takes text as well', async () => {
  expect(await all(splitLines(chunks('a', 'b\r', '\nc', '\n')))).toEqual(['ab', 'c']);
});

test('a line is yielded before the next chunk is asked for', async () => {
  const log: string[] = [];
  async function* source(): AsyncGenerator<string> {
    log.push('ask 1');
    yield 'one\ntw';
    log.push('ask 2');
    yield 'o\n';
  }
  for await (const line of splitLines(source())) log.push(line);
  expect(log).toEqual(['ask 1', 'one', 'ask 2', 'two']);
});

test('leaving early ends the source', async () => {
  let ended = false;
  async function* source(): AsyncGenerator<string> {
    try {
      yield 'one\ntwo\n';
      yield 'three\n';
    } finally {
      ended = true;
    }
  }
  for await (const line of splitLines(source())) {
    expect(line).toBe('one');
    break;
  }
  expect(ended).toBe(true);
});

test('a failure of the source passes through after the lines before it', async () => {
  const lines: string[] = [];
  async function* source(): AsyncGenerator<string> {
    yield 'one\ntw';
    throw new Error('reset');
  }
  const read = (async () => {
    for await (const line of splitLines(source())) lines.push(line);
  })();
  await expect(read).rejects.toThrow('reset');
  expect(lines).toEqual(['one']);
});

test('a line is refused above 1 Mi characters, also without an end', async () => {
  const quarter = 'x'.repeat(256 * 1024);
  const parts = (count: number) => Array.from({ length: count }, () => quarter);
  expect((await all(splitLines(chunks(...parts(4), '\n'))))[0]).toHaveLength(1024 * 1024);
  await expect(all(splitLines(chunks(...parts(5))))).rejects.toThrow(StreamTooLong);
  await expect(all(splitLines(chunks(`${parts(5).join('')}\n`)))).rejects.toThrow(StreamTooLong);
});

test('a long line in small chunks comes whole', async () => {
  const piece = '0123456789'.repeat(100);
  const lines = await all(
    splitLines(chunks(...Array.from({ length: 1_000 }, () => piece), '\r', '\nnext\n')),
  );
  expect(lines).toEqual([piece.repeat(1_000), 'next']);
});
