import { shorten } from '../../../src/http/long-strings.js';

const LONG = 'QUJD'.repeat(40_000);
const URL = `data:image/png;base64,${LONG}`;

async function cut(json: string) {
  let made = 0;
  const newMark = () => `mark${(made += 1)}`;
  const { json: rest, strings } = await shorten(Buffer.from(json), newMark, async () => undefined);
  return { rest: rest.toString(), strings: Object.fromEntries(strings!) };
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
])('%s is taken out', async (_name, value, strings, rest) => {
  expect(await cut(JSON.stringify(value))).toEqual({ strings, rest });
});

test.each([
  ['short strings', JSON.stringify({ a: 'QUJD'.repeat(2_000), b: 'QUJD'.repeat(2_000) })],
  ['base64 with an end of another kind', JSON.stringify({ a: `${LONG.repeat(10)}~` })],
  ['words', JSON.stringify({ a: 'a word '.repeat(40_000) })],
  ['other letters', JSON.stringify({ a: `${LONG}é` })],
  ['escapes that are none', `{"a":"${LONG}\\x"}`],
  ['numbers between strings', `{"a":[${'1,'.repeat(100_000)}1],"b":"c"}`],
  ['what follows an escaped quote', `{"a":"\\"${LONG}"}`],
  ['a text without quotes', LONG],
  ['a string without an end', `{"a":"${LONG}`],
])('%s stay', async (_name, json) => {
  expect(await cut(json)).toEqual({ strings: {}, rest: json });
});

test('escapes of slashes, plus signs and line ends are undone', async () => {
  const json = JSON.stringify({ a: `${URL}+/\n=` })
    .replaceAll('/', '\\/')
    .replace('+', '\\u002B');
  expect(await cut(json)).toEqual({ strings: { mark1: `${URL}+/\n=` }, rest: '{"a":"mark1"}' });
});

test('what is not JSON does not become it', async () => {
  const { rest } = await cut(`{"a":"b"${LONG}"c"}`);
  expect(() => JSON.parse(rest)).toThrow(SyntaxError);
});

test.each([
  ['wherever it begins', 1],
  ['near the border of a step', 4_090],
  ['far into the text', 200_001],
])('a long string is found %s', async (_name, before) => {
  const json = `{"a":"${' '.repeat(before)}","b":"${LONG}"}`;
  expect((await cut(json)).strings).toEqual({ mark1: LONG });
});

test('the time between two pauses does not grow with the string', async () => {
  let pauses = 0;
  const json = JSON.stringify({ a: LONG.repeat(40) });
  await shorten(
    Buffer.from(json),
    () => 'mark',
    async () => (pauses += 1),
  );
  expect(pauses).toBeGreaterThanOrEqual(json.length / 1_048_576);
});
