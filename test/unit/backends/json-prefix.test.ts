import { JsonPrefix } from '../../../src/backends/json-prefix.js';
import { Random } from '../../harness/random.js';

function read(...pieces: string[]): JsonPrefix | undefined {
  const json = new JsonPrefix();
  return pieces.every((piece) => json.add(piece)) ? json : undefined;
}

/** Of texts; a value is never undefined. */
const isJson = (text: string): boolean => {
  try {
    return JSON.parse(text) !== undefined;
  } catch {
    return false;
  }
};

const WHOLE = [
  '{}',
  ' { "a" : [ ] , "b":[1,-2.50e+10, 0.1E-7,true,false,null],"c":{"d":{}} }\r\n',
  '{"text":"\\u00e9\\n\\"\\\\ é 😀 \u007f","":""}',
  '[[[]],[{}]]',
  '"a"',
  '-0',
  '12.5',
];

test.each(WHOLE)('%j is read to its end, and nothing else begins it', (text) => {
  for (let at = 0; at <= text.length; at += 1) {
    const json = read(text.slice(0, at), '');
    expect(json).toBeDefined();
    expect(json!.isWhole).toBe(isJson(text.slice(0, at)));
    expect([at, isJson(text.slice(0, at) + json!.completion)]).toEqual([at, true]);
  }
  expect(read(...text)!.isWhole).toBe(true);
});

test.each([
  '}',
  '{a',
  "{'",
  '{"a" "',
  '{"a":}',
  '{"a":1,}',
  '{"a":1 "',
  '{,',
  '[1,]',
  '[,',
  '[1}',
  '{}x',
  '{}{',
  '"\n',
  '"\\x',
  '"\\u12g',
  '01',
  '-a',
  '1.e',
  '1e+,',
  '.',
  '+',
  'tru ',
  'nul1',
  'T',
])('%j begins no JSON text, although it does without its last character', (text) => {
  expect(read(text.slice(0, -1))).toBeDefined();
  expect(read(text)).toBeUndefined();
});

test('a text with a character changed, added or lost is whole exactly if it is JSON', () => {
  const random = new Random(1);
  for (let round = 0; round < 5_000; round += 1) {
    const text = random.pick(WHOLE);
    const at = random.int(0, text.length);
    const put = random.pick(['', ...'{}[]",:\\ue1-.0 x']);
    const changed = text.slice(0, at) + put + text.slice(at + random.int(0, 1));
    expect([changed, read(changed)?.isWhole ?? false]).toEqual([changed, isJson(changed)]);
  }
});

test.each([
  ['', 'ws value ws'],
  ['{', 'ws members ws'],
  ['{"a', 'characters ws colon ws value ws pairs ws'],
  ['{"a":[1', 'digits fraction exponent ws more-items ws pairs ws'],
  ['{"a":"\\u1', 'hex hex hex characters ws pairs ws'],
  ['{"a":t', 'r u e ws pairs ws'],
  ['{}', 'ws'],
])('the grammar of what follows %j begins with %j', (text, root) => {
  expect(read(text)!.grammar().split('\n')[0]).toBe(`root ::= ${root}`);
});

test.each([
  ['{"x":1', 'ws outer-pairs ws'],
  ['{"x":[{', 'ws members ws more-items ws outer-pairs ws'],
  ['{', 'ws outer-members ws'],
  ['{"x":1,', 'ws outer-pair ws'],
  ['{"x":1, "', 'characters ws colon ws value ws outer-pairs ws'],
  ['[', 'ws items ws'],
])('only the keys of the outermost object can be bounded after %j', (text, root) => {
  const grammar = read(text)!.grammar(['a', 'b"']);
  expect(grammar.split('\n')[0]!.replace('digits fraction exponent ', '')).toBe(`root ::= ${root}`);
  expect(grammar.includes('outer-pair ::= ("\\"a\\"" | "\\"b\\\\\\"\\"") ws colon')).toBe(
    root.includes('outer'),
  );
});

test('without any keys that may follow, the outermost object can only end', () => {
  expect(read('{"x":""')!.grammar([])).toMatch(/^outer-pairs ::= "\}"$/m);
});
