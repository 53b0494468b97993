import { shorten } from '../../../src/http/long-strings.js';

const LONG = 'QUJD'.repeat(40_000);
const URL = `data:image/png;base64,${LONG}`;

function cut(json: string) {
  let made = 0;
  const { json: rest, strings } = shorten(Buffer.from(json), () => `mark${(made += 1)}`);
  return { rest: rest.toString(), strings: Object.fromEntries(strings) };
}

test.each([
  ['a data URL', [{ url: URL }], { mark1: URL }, '[{"url":"mark1"}]'],
  ['base64', { data: LONG, x: 1 }, { mark1: LONG }, '{"data":"mark1","x":1}'],
  [
    'several, and what is between them',
    { a: LONG, b: 'short', c: URL, d: LONG },
    { mark1: LONG, mark2: URL, mark3: LONG },
    '{"a":"mark1","b":"short","c":"mark2","d":"mark3"}',
  ],
])('%s is taken out', (_name, value, strings, rest) => {
  expect(cut(JSON.stringify(value))).toEqual({ strings, rest });
});

test.each([
  ['short strings', JSON.stringify({ a: 'QUJD'.repeat(10_000), b: 'QUJD'.repeat(10_000) })],
  ['words', JSON.stringify({ a: 'a word '.repeat(40_000) })],
  ['escapes', JSON.stringify({ a: `${LONG}\n`, b: `${LONG}é` })],
  ['numbers between strings', `{"a":[${'1,'.repeat(100_000)}1],"b":"c"}`],
  ['what follows an escaped quote', `{"a":"\\"${LONG}"}`],
  ['a text without quotes', LONG],
  ['a string without an end', `{"a":"${LONG}`],
])('%s stay', (_name, json) => {
  expect(cut(json)).toEqual({ strings: {}, rest: json });
});

test('what is not JSON does not become it', () => {
  const { rest } = cut(`{"a":"b"${LONG}"c"}`);
  expect(() => JSON.parse(rest)).toThrow(SyntaxError);
});

test.each([
  ['wherever it begins', 1],
  ['near the border of a step', 32_760],
  ['far into the text', 200_001],
])('a long string is found %s', (_name, before) => {
  const json = `{"a":"${' '.repeat(before)}","b":"${LONG}"}`;
  expect(cut(json).strings).toEqual({ mark1: LONG });
});
