import fc from 'fast-check';
import { LMServError } from '../../../src/errors.js';
import { parseBody } from '../../../src/http/body.js';

const parse = (text: string): unknown => parseBody(Buffer.from(text));

/** What a text is refused with; undefined when it is taken. */
function refusal(text: string): string | undefined {
  try {
    parse(text);
    return undefined;
  } catch (error) {
    expect(error).toBeInstanceOf(LMServError);
    expect((error as LMServError).code).toBe('invalid_json');
    return (error as LMServError).message;
  }
}

/** Any JSON object; many have keys that are hard to tell apart, or more of them than are compared one by one. */
const objects = fc.dictionary(
  fc.oneof(
    fc.string({ unit: 'binary' }),
    // Without a single backslash: once it was a key, V8 13.6 (Node 24) takes the key `"` for it.
    fc.constantFrom('__proto__', 'constructor', '', '"', '\\b', 'a', '1'),
  ),
  fc.jsonValue({ maxDepth: 6, stringUnit: 'binary' }),
  { maxKeys: 30 },
) as fc.Arbitrary<object>;

/** One more member for an object inside a value. */
interface Twin {
  readonly of: object;
  readonly key: string;
}

/** Writes JSON that means `value`, any character of a text as an escape and white space anywhere, as `g` draws it. */
function write(value: unknown, g: fc.GeneratorValue, twin?: Twin): string {
  const space = () => g(fc.constantFrom, '', '', ' ', '\n', '\t\r');
  const text = (plain: string) => `"${plain.split('').map(character).join('')}"`;
  const character = (unit: string) =>
    g(fc.nat, { max: 9 }) === 0
      ? `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`
      : JSON.stringify(unit).slice(1, -1);
  const node = (part: unknown): string => {
    if (typeof part === 'string') return text(part);
    if (part === null || typeof part !== 'object') return JSON.stringify(part);
    if (Array.isArray(part)) return `[${space()}${part.map(node).join(`${space()},${space()}`)}${space()}]`;
    const members = Object.entries(part).map(([key, item]) => member(key, node(item)));
    if (twin?.of === part)
      members.splice(g(fc.nat, { max: members.length }), 0, member(twin.key, node(g(fc.jsonValue))));
    return `{${space()}${members.join(`${space()},${space()}`)}${space()}}`;
  };
  const member = (key: string, item: string) => `${text(key)}${space()}:${space()}${item}`;
  return `${space()}${node(value)}${space()}`;
}

/** The objects inside a value, itself included, that have a key. */
function keyed(value: unknown): object[] {
  if (value === null || typeof value !== 'object') return [];
  const inside = Object.values(value).flatMap(keyed);
  return Array.isArray(value) || Object.keys(value).length === 0 ? inside : [value, ...inside];
}

test('any JSON object is read as JSON.parse reads it', () => {
  fc.assert(
    fc.property(objects, fc.gen(), (value, g) => {
      const text = write(value, g);
      expect(JSON.stringify(parse(text))).toBe(JSON.stringify(JSON.parse(text)));
      expect(JSON.stringify(parse(JSON.stringify(value)))).toBe(JSON.stringify(value));
    }),
  );
});

test('a key that is twice in an object anywhere is refused, however it is written', () => {
  fc.assert(
    fc.property(objects, fc.gen(), (value, g) => {
      const places = keyed(value);
      fc.pre(places.length > 0);
      const of = places[g(fc.nat, { max: places.length - 1 })]!;
      const names = Object.keys(of);
      const key = names[g(fc.nat, { max: names.length - 1 })]!;
      expect(refusal(write(value, g, { of, key }))).toMatch(/^The body has a duplicate key in one object/);
    }),
  );
});

test('what JSON.parse refuses is refused', () => {
  const broken = fc.tuple(objects, fc.nat(), fc.nat(), fc.string()).map(([value, from, length, put]) => {
    const text = JSON.stringify(value);
    const at = from % text.length;
    return text.slice(0, at) + put + text.slice(at + (length % 3));
  });
  fc.assert(
    fc.property(broken, (text) => {
      let valid = true;
      try {
        JSON.parse(text);
      } catch {
        valid = false;
      }
      if (!valid) expect(refusal(text)).toBeDefined();
    }),
  );
});

test.each([
  ['{"a":1,"a":2}', 7],
  ['{"a":1,"\\u0061":2}', 7],
  ['{"\\u0061":1,"a":2}', 12],
  ['{"x":[{},{"b":{},"b":[]}]}', 17],
  ['{"x":{"a":1},"y":{"a":1},"x":0}', 25],
  ['{"__proto__":1,"__proto__":2}', 15],
  ['{"":1,"":2}', 6],
])('%s says where, and no key', (text, position) => {
  expect(refusal(text)).toBe(`The body has a duplicate key in one object, at character ${position}`);
});

test.each([
  '{"a":{"a":{"a":1}}}',
  '{"a":[{"a":1},{"a":2}],"b":"a"}',
  '{"a":"b","b":"a"}',
  '{"a\\"b":1,"a":2,"\\\\":3,"\\\\\\"":4}',
  '{"A":1,"a":2}',
])('%s has no key twice', (text) => {
  expect(parse(text)).toEqual(JSON.parse(text));
});

test('nesting is counted over objects and lists, outside texts', () => {
  const nested = (depth: number) => `{"a":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}`;
  expect(refusal(nested(100))).toBeUndefined();
  expect(refusal(nested(101))).toBe('The body is nested more than 100 levels deep');
  expect(refusal(`{"a":${'{"b":'.repeat(100)}`)).toBe('The body is nested more than 100 levels deep');
  expect(refusal(JSON.stringify({ a: '["'.repeat(1_000) }))).toBeUndefined();
});

test('keys that name a prototype are keys like any other', () => {
  const value = parse('{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}');
  expect(Object.keys(value as object)).toEqual(['__proto__', 'constructor']);
  expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  expect((value as Record<string, unknown>).polluted).toBeUndefined();
});
