import type { Json, JsonObject } from '../../contract.js';
import { isObject } from '../../wire/json-shape.js';

/** Max values in one result; a recursive schema, or one with nested lists, would otherwise never end. */
const MAX_VALUES = 1000;

/** Max characters of a string and items of a list, whatever the schema requires. */
const LONGEST = 1000;

type Make = (schema: Json | undefined) => Json;

/**
 * Builds a minimal value for a simple JSON schema: required properties only, first alternatives, lower bounds. Ignores
 * keywords that constrain a string (`pattern`, `format`) or combine schemas (`allOf`, `not`).
 */
export function minimalJson(schema: Json): Json {
  let left = MAX_VALUES;
  const make: Make = (part) => {
    if (!isObject(part) || left <= 0) return null;
    left -= 1;
    if (typeof part.$ref === 'string') return make(lookUp(part.$ref, schema));
    if (part.const !== undefined) return part.const;
    if (Array.isArray(part.enum)) return part.enum[0] ?? null;
    const alternatives = part.anyOf ?? part.oneOf;
    return Array.isArray(alternatives) ? make(alternatives[0]) : ofType(part, make);
  };
  return make(schema);
}

function ofType(schema: JsonObject, make: Make): Json {
  const type = Array.isArray(schema.type) ? schema.type[0] : schema.type;
  switch (type) {
    case 'string':
      return 'mock'.padEnd(count(schema.minLength), 'x').slice(0, count(schema.maxLength, LONGEST));
    case 'integer':
    case 'number':
      return smallestNumber(schema);
    case 'boolean':
      return false;
    case 'array':
      return Array.from({ length: count(schema.minItems) }, () => make(schema.items));
    case 'null':
      return null;
    default:
      return requiredOf(schema, make);
  }
}

function requiredOf(schema: JsonObject, make: Make): JsonObject {
  const properties = isObject(schema.properties) ? schema.properties : {};
  const names = Array.isArray(schema.required)
    ? schema.required.filter((name) => typeof name === 'string')
    : [];
  return Object.fromEntries(names.map((name) => [name, make(properties[name] ?? {})]));
}

function smallestNumber(schema: JsonObject): number {
  if (typeof schema.minimum === 'number') return schema.minimum;
  if (typeof schema.exclusiveMinimum === 'number') return schema.exclusiveMinimum + 1;
  return typeof schema.maximum === 'number' ? Math.min(0, schema.maximum) : 0;
}

/** Reads a length from a schema. */
function count(value: Json | undefined, defaultCount = 0): number {
  return typeof value === 'number' ? Math.min(Math.max(0, value), LONGEST) : defaultCount;
}

/** Follows a pointer such as `#/$defs/item`. */
function lookUp(ref: string, root: Json): Json | undefined {
  let found: Json | undefined = root;
  for (const name of ref.split('/').slice(1)) {
    const key = name.replaceAll('~1', '/').replaceAll('~0', '~');
    found = isObject(found) && Object.hasOwn(found, key) ? found[key] : undefined;
  }
  return found;
}
