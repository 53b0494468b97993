import { decodeNdjson, encodeNdjson } from '../../../src/wire/ndjson.js';
import { all, chunks, everySplit } from './splits.js';

const VALUES = [{ type: 'chunk', text: 'né 🦙\r\n👩‍👩‍👧 \u2028' }, { type: 'done' }, null, 7, 'text', []];

test('what is encoded is decoded, wherever the chunks end', async () => {
  for (const parts of everySplit(VALUES.map(encodeNdjson).join(''))) {
    expect(await all(decodeNdjson(chunks(...parts)))).toEqual(VALUES);
  }
});

test('a value is one line, whatever line breaks it holds', () => {
  for (const value of VALUES) expect(encodeNdjson(value).match(/\n/g)).toHaveLength(1);
});

test('\\r\\n ends a line, and empty lines are skipped', async () => {
  for (const parts of everySplit('{"a":1}\r\n\r\n \n{"b":2}\n\n')) {
    expect(await all(decodeNdjson(chunks(...parts)))).toEqual([{ a: 1 }, { b: 2 }]);
  }
});

test('a last line that was cut is not yielded, not even when it is JSON by itself', async () => {
  expect(await all(decodeNdjson(chunks('{"a":1}\n{"b":2}')))).toEqual([{ a: 1 }]);
  expect(await all(decodeNdjson(chunks('{"a":1}\n12')))).toEqual([{ a: 1 }]);
});

test('a line that is no JSON throws, after the values before it', async () => {
  const values: unknown[] = [];
  const read = (async () => {
    for await (const value of decodeNdjson(chunks('{"a":1}\n{"b":\n{"c":3}\n'))) values.push(value);
  })();
  await expect(read).rejects.toMatchObject({ name: 'SyntaxError' });
  expect(values).toEqual([{ a: 1 }]);
});
