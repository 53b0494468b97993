import type { Json, JsonObject } from '../../contract.js';
import { isObject } from '../../wire/json-shape.js';
import { jsonObject } from './fields.js';
import { schemaProblem } from './schema-size.js';

/** Any JSON schema of a client, as a worker reads it. */
export const anySchema = jsonObject.transform(withoutTrue).transform(withoutWholeRefs);

/** A JSON schema that a worker can use. */
export const workerSchema = anySchema.superRefine((schema, context) => {
  const problem = workerProblem(schema);
  if (problem !== undefined) context.addIssue(problem);
});

/** Why a worker cannot use a schema; undefined if it can. */
export function workerProblem(schema: JsonObject): string | undefined {
  return schemaProblem(schema) ?? schemaFlaw(schema);
}

/** Max characters of a schema that an error quotes. */
const MAX_QUOTE = 60;

const TYPES: ReadonlySet<Json | undefined> = new Set([
  ...['object', 'array', 'string', 'number', 'integer', 'boolean', 'null'],
  ...['', null, undefined],
]);

const COUNTS = ['minLength', 'maxLength', 'minItems', 'maxItems'];

/** Keywords whose value is a schema, or a list of them. */
const PARTS = new Set(['items', 'prefixItems', 'anyOf', 'oneOf', 'allOf', 'additionalProperties']);

/** Keywords whose value is an object of schemas. */
const NAMED_PARTS = new Set(['properties', '$defs', 'definitions']);

/**
 * What no worker and no provider can read in a schema; undefined if there is nothing. Tools of other servers are often
 * wrong in one place, and one such tool makes every request that lists it fail: the message names the place.
 */
export function schemaFlaw(root: JsonObject): string | undefined {
  const followed = new Set<string>();
  const visit = (node: Json, place: string): string | undefined => {
    if (!isObject(node)) return `has a part that is not a schema (at ${place.slice(0, MAX_QUOTE)})`;
    if (typeof node.$ref === 'string') return follow(node.$ref, place);
    const flaw = flawOf(node);
    if (flaw !== undefined) return `has ${flaw} (at ${place.slice(0, MAX_QUOTE)})`;
    for (const [part, at] of partsOf(node, place)) {
      const found = visit(part, at);
      if (found !== undefined) return found;
    }
    return undefined;
  };
  const follow = (ref: string, place: string): string | undefined => {
    // An anchor, or the whole schema.
    if (followed.has(ref) || /^#(?!\/)/.test(ref)) return undefined;
    followed.add(ref);
    const target = ref.startsWith('#/') ? lookUp(root, ref) : undefined;
    const shown = JSON.stringify(ref.slice(0, MAX_QUOTE));
    return target === undefined
      ? `has no part ${shown}, to which ${place.slice(0, MAX_QUOTE)} refers`
      : visit(target, ref);
  };
  return visit(root, '#');
}

function flawOf(node: JsonObject): string | undefined {
  if (node.$ref !== undefined) return '$ref without a text';
  for (const name of ['oneOf', 'anyOf', 'allOf'])
    if (node[name] !== undefined && !isFilled(node[name])) return `${name} without a list of schemas`;
  if ('oneOf' in node || 'anyOf' in node || 'const' in node) return undefined;
  const { enum: values, properties = {}, additionalProperties: others = true, type = null } = node;
  if (values !== undefined) return isFilled(values) ? undefined : 'enum without a list of values';
  if (Array.isArray(type) && type.length === 0) return 'an empty list of types';
  const unknown = (Array.isArray(type) ? type : [type]).find((one) => !TYPES.has(one));
  if (unknown !== undefined)
    return `the type ${JSON.stringify(unknown).slice(0, MAX_QUOTE)}, which JSON Schema does not know`;
  if (!isObject(properties)) return 'properties that are not an object';
  if (typeof others !== 'boolean' && !isObject(others)) return 'additionalProperties that are not a schema';
  const count = COUNTS.find((name) => node[name] !== undefined && !isCount(node[name]));
  if (count !== undefined) return `${count} without a whole number`;
  const words = ['pattern', 'format'].find((name) => typeof (name in node ? node[name] : '') !== 'string');
  return words && `${words} without a text`;
}

/** The schemas within a schema that a worker reads, with their places. */
function* partsOf(node: JsonObject, place: string): Generator<[Json, string]> {
  if ('const' in node || 'enum' in node) return;
  const alternatives = node.oneOf ?? node.anyOf;
  const read: [string, Json][] = alternatives ? [['anyOf', alternatives]] : Object.entries(node);
  for (const [name, value] of read) {
    if (name === 'properties')
      for (const [key, part] of Object.entries(value as JsonObject)) yield [part, `${place}/${name}/${key}`];
    else if (PARTS.has(name) && typeof value !== 'boolean')
      for (const part of Array.isArray(value) ? value : [value]) yield [part, `${place}/${name}`];
  }
}

/** `true` and `{}` are the same schema, but workers read only the second. */
function withoutTrue(schema: JsonObject): JsonObject {
  const part = (value: Json): Json => {
    if (value === true) return {};
    return isObject(value) ? withoutTrue(value) : value;
  };
  const changed = Object.entries(schema).map(([name, value]): [string, Json] => {
    if (NAMED_PARTS.has(name) && isObject(value))
      return [name, Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, part(inner)]))];
    if (!PARTS.has(name) || (name === 'additionalProperties' && value === true)) return [name, value];
    return [name, Array.isArray(value) ? value.map(part) : part(value)];
  });
  return Object.fromEntries(changed);
}

/**
 * Recursive schemas refer to the whole of themselves, `#`, which workers cannot read: such a reference becomes one to a
 * copy among the definitions.
 */
function withoutWholeRefs(schema: JsonObject): JsonObject {
  const { $defs: definitions = {}, ...whole } = schema;
  if (!isObject(definitions)) return schema;
  let refers = false;
  let name = 'root';
  while (name in definitions) name += '_';
  const change = (value: Json): Json => {
    if (Array.isArray(value)) return value.map(change);
    if (!isObject(value)) return value;
    const changed = Object.entries(value).map(([key, part]): [string, Json] => {
      const isWhole = key === '$ref' && part === '#';
      refers ||= isWhole;
      if (isWhole) return [key, `#/$defs/${name}`];
      return [key, VALUES.has(key) ? part : change(part)];
    });
    return Object.fromEntries(changed);
  };
  const copy = change(whole) as JsonObject;
  const $defs = { ...(change(definitions) as JsonObject), [name]: copy };
  return refers ? { ...copy, $defs } : schema;
}

/** Keywords whose value is not a schema, whatever it looks like. */
const VALUES = new Set(['const', 'enum', 'default', 'examples']);

/** Follows a pointer such as `#/$defs/item`. */
function lookUp(root: JsonObject, ref: string): Json | undefined {
  let node: Json | undefined = root;
  for (const name of ref.split('/').slice(1)) {
    const inner: Json | undefined = node;
    const key: string | undefined = [name, name.replaceAll('~1', '/').replaceAll('~0', '~')].find((one) =>
      hasPart(inner, one),
    );
    node = key === undefined ? undefined : (inner as JsonObject)[key];
  }
  return node;
}

function hasPart(node: Json | undefined, name: string): boolean {
  return typeof node === 'object' && node !== null && Object.hasOwn(node, name);
}

function isFilled(value: Json | undefined): boolean {
  return Array.isArray(value) && value.length > 0;
}

function isCount(value: Json | undefined): boolean {
  return Number.isInteger(value) && (value as number) >= 0;
}
