import type { JsonObject } from '../../../../src/contract.js';
import { LMServError } from '../../../../src/errors.js';
import { compileSchema } from '../../../../src/dialects/shared/json-schema.js';

const thrownBy = (run: () => unknown): LMServError => {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(LMServError);
    return error as LMServError;
  }
  throw new Error('nothing was thrown');
};

const item = { type: 'object', properties: { price: { type: 'number', minimum: 0 } }, required: ['price'] };

describe('a check considers', () => {
  test.each<[string, JsonObject, unknown, boolean]>([
    ['a fit', item, { price: 1 }, true],
    ['a wrong type', item, { price: '1' }, false],
    ['a missing field', item, {}, false],
    ['a local reference', { $defs: { item }, items: { $ref: '#/$defs/item' } }, [{ price: -1 }], false],
    ['a schema that refers to itself', { items: { $ref: '#' }, type: 'array' }, [[[]], []], true],
    [
      'the draft and address it names',
      { $schema: 'http://json-schema.org/draft-07/schema#', $id: 'https://example.org/a', ...item },
      { price: 1 },
      true,
    ],
    ['a pattern', { type: 'string', pattern: '^[a-z]+$' }, 'A', false],
    ['a format, which is not checked', { type: 'string', format: 'date' }, 'soon', true],
    ['a keyword nobody knows', { type: 'string', 'x-order': 1 }, 'a', true],
    ['a field named like a reference', { properties: { $ref: { type: 'string' } } }, { $ref: 'x' }, true],
    ['an inherited name', { required: ['toString'] }, {}, false],
  ])('%s', (_name, schema, value, fits) => {
    expect(compileSchema(schema)(value) === undefined).toBe(fits);
  });

  test('the place and the problem in its message, never the value', () => {
    expect(compileSchema(item)({ price: 'SECRET' })).toBe('/price must be number');
  });
});

describe('a schema is refused with 400 for', () => {
  const wide = { enum: Array.from({ length: 301 }, () => []) };
  test.each<[string, JsonObject, string]>([
    ['another host', { $ref: 'https://example.org/schema.json' }, '$ref'],
    ['a file', { properties: { a: { $ref: 'file:///etc/passwd' } } }, '$ref'],
    ['another document, dynamically', { $dynamicRef: 'other#a' }, '$dynamicRef'],
    ['a part that is not there', { $ref: '#/$defs/none' }, 'resolve'],
    ['a type that is none', { type: 'wizard' }, '/type'],
    ['a pattern that is none', { pattern: '(' }, 'regular expression'],
    ['a check that would answer later', { $async: true }, '$async'],
    ['too many parts', wide, '300'],
  ])('%s', (_name, schema, hint) => {
    const error = thrownBy(() => compileSchema(schema));
    expect(error).toMatchObject({ code: 'invalid_value', param: 'schema' });
    expect(error.message).toContain('schema: ');
    expect(error.message).toContain(hint);
  });

  test.each<[string, JsonObject, unknown]>([
    ['a pattern that backtracks for ever', { pattern: '^(a+)+$' }, `${'a'.repeat(60)}!`],
    ['references that double at each step', doubling(60), 1],
    ['a reference to itself without an end', { allOf: [{ $ref: '#' }] }, 1],
  ])('%s, when it is used', (_name, schema, value) => {
    const check = compileSchema(schema);
    const error = thrownBy(() => check(value));
    expect(error).toMatchObject({ code: 'invalid_value', param: 'schema' });
    expect(error.message).toContain('too long');
  });
});

/** Each definition asks for the next one twice. */
function doubling(steps: number): JsonObject {
  const $defs: JsonObject = { [`d${steps}`]: { type: 'number' } };
  for (let i = 0; i < steps; i += 1) {
    const next = { $ref: `#/$defs/d${i + 1}` };
    $defs[`d${i}`] = { allOf: [next, next] };
  }
  return { $defs, $ref: '#/$defs/d0' };
}
