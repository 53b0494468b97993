import { z } from 'zod';
import { inputSchemas, taking } from '../../../../src/dialects/shared/input-schema.js';
import { filled, list, map, optional } from '../../../../src/dialects/shared/validate.js';

const count = { type: 'integer', minimum: 1, maximum: 9 };
const counted = z.int().min(1).max(9);

test.each<[string, z.ZodType, object]>([
  ['a list', list(counted, { max: 3 }), { type: 'array', items: count, minItems: 1, maxItems: 3 }],
  ['a list without a limit', list(counted, { min: 0 }), { type: 'array', items: count, minItems: 0 }],
  ['a list with a condition', list(counted).refine(() => true), { type: 'array', items: count, minItems: 1 }],
  ['what follows a list', list(counted).transform(String), { type: 'array', items: count, minItems: 1 }],
  ['a map', map(/./, 'x', counted), { type: 'object', additionalProperties: count }],
  ['a field that may be empty', filled(counted), count],
  ['an optional field', optional(counted), { anyOf: [count, { type: 'null' }] }],
  ['what is tidied up first', z.unknown().transform(Number).pipe(counted), count],
  ['a transformed value', z.string().transform(Number), { type: 'string' }],
  ['anything', z.unknown().transform(Number), {}],
  ['a noted schema', taking(z.custom<number>(), () => ({ type: 'number' })), { type: 'number' }],
])('%s is described by what it takes', (_name, schema, described) => {
  expect(inputSchemas()(schema)).toEqual(described);
});

test('a field that is always refused is not described', () => {
  const { properties } = inputSchemas()(
    z.object({ a: counted, b: filled(z.undefined('is not supported')), c: filled(z.object({ d: counted })) }),
  );
  expect(properties).toEqual({ a: count, c: expect.objectContaining({ properties: { d: count } }) });
});
