import type { Json, JsonObject } from '../../../../src/contract.js';
import { schemaProblem, toolsProblem } from '../../../../src/dialects/shared/schema-size.js';

const times = <T>(count: number, make: (position: number) => T): T[] =>
  Array.from({ length: count }, (_, position) => make(position));

const form = (fields: number, field: Json, required = true): JsonObject => ({
  type: 'object',
  properties: Object.fromEntries(times(fields, (i) => [`field${i}`, field])),
  ...(required ? { required: times(fields, (i) => `field${i}`) } : {}),
});

const ref = (name: string) => ({ $ref: `#/$defs/${name}` });

/** Definitions d0, d1, …, each made of the name of the next one. */
const chain = (
  length: number,
  make: (next: JsonObject) => JsonObject,
  last: JsonObject = { type: 'string' },
) => Object.fromEntries(times(length, (i) => [`d${i}`, i + 1 < length ? make(ref(`d${i + 1}`)) : last]));

const nested = (depth: number, make: (inner: JsonObject) => JsonObject): JsonObject =>
  depth === 0 ? { type: 'string' } : make(nested(depth - 1, make));

describe('realistic schemas are accepted', () => {
  const country = { enum: times(250, (i) => `Country ${i}`) };
  const ui = times(10, (i) => [
    `kind${i}`,
    {
      type: 'object',
      properties: { children: { type: 'array', items: ref('any') } },
      required: ['children'],
    },
  ]);

  test.each<[string, JsonObject]>([
    ['250 required fields', form(250, { type: 'string' })],
    ['250 optional fields', form(250, { type: 'integer', minimum: 0 }, false)],
    ['fields with an enum of 250 each', form(7, country)],
    ['40 fields with a longest length', form(40, { type: 'string', maxLength: 2_000 })],
    ['a tree', { ...ref('n'), $defs: { n: form(2, { anyOf: [ref('n'), { type: 'null' }] }) } }],
    [
      'components that refer to each other',
      {
        ...ref('any'),
        $defs: { any: { anyOf: ui.map(([name]) => ref(name as string)) }, ...Object.fromEntries(ui) },
      },
    ],
    ['a field by allOf', { ...form(20, { allOf: [ref('d0')] }), $defs: { d0: form(3, { type: 'number' }) } }],
    ['nested nullable objects', nested(20, (inner) => ({ type: ['object', 'null'], properties: { inner } }))],
    ['a long description', { type: 'string', description: 'word '.repeat(10_000) }],
  ])('%s', (_, schema) => expect(schemaProblem(schema)).toBeUndefined());

  test('as the parameters of 60 tools', () => {
    expect(toolsProblem(times(60, () => form(10, { type: 'string' })))).toBeUndefined();
  });
});

/** Each of these ended a worker of llama.cpp 0.5.0, or kept it for many seconds. */
describe('schemas that cost a worker too much are refused', () => {
  const long = 'é'.repeat(300);
  test.each<[string, RegExp, JsonObject]>([
    ['an enum', /2000 values/, { enum: times(20_000, (i) => `v${i}`) }],
    ['a list of types', /2000 values/, { type: times(30_000, () => 'string') }],
    ['required names', /2000 values/, { required: times(3_000, (i) => `v${i}`) }],
    ['a constant', /131072 characters/, { const: 'x'.repeat(200_000) }],
    ['a name', /256 characters in a name/, { properties: { [long]: {} } }],
    ['a reference', /256 characters in a \$ref/, { $ref: `#/$defs/${long}` }],
    ['lengths', /100000 repetitions/, form(90, { type: 'string', maxLength: 2_000 })],
    ['patterns', /100000 repetitions/, form(90, { type: 'string', pattern: '^[a-z]{1,1900}$' })],
    ['one pattern', /too many groups or repetitions/, { pattern: '^((a{0,999}){0,999}){0,999}$' }],
    ['a row of repetitions', /more than 100 repetitions/, { pattern: `^${'a*'.repeat(250)}$` }],
    ['repeated alternatives', /more than 30 alternatives/, { pattern: `^(${'c|'.repeat(250)}d)*$` }],
    ['parts', /300 parts/, { anyOf: times(300, () => ({})) }],
    [
      'types that double',
      /after expanding/,
      nested(30, (inner) => ({ type: ['object', 'object'], properties: { inner } })),
    ],
    [
      'references that double below allOf',
      /after expanding/,
      {
        allOf: [ref('d0')],
        $defs: chain(20, (next) => ({ properties: { x: { allOf: [next] }, y: { allOf: [next] } } })),
      },
    ],
    [
      'alternatives that double',
      /after expanding/,
      { ...ref('d0'), $defs: chain(60, (next) => ({ anyOf: [next, next] })) },
    ],
    ['allOf in a circle', /back to themselves/, { allOf: [ref('a')], $defs: { a: ref('b'), b: ref('a') } }],
    [
      'circular references',
      /back to themselves/,
      { ...ref('a'), $defs: { a: { anyOf: [ref('b')] }, b: ref('a') } },
    ],
    [
      'allOf that refers to itself through a property',
      /after expanding/,
      { ...ref('n'), $defs: { n: { properties: { next: { allOf: [ref('n')] } } } } },
    ],
  ])('%s', (_, problem, schema) => expect(schemaProblem(schema)).toMatch(problem));

  test('optional fields of all tools together', () => {
    const parameters = form(250, { type: 'string' }, false);
    expect(toolsProblem([parameters])).toBeUndefined();
    expect(toolsProblem(times(6, () => parameters))).toMatch(/too many optional properties/);
  });
});
