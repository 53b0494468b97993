import { z } from 'zod';
import { isObject } from '../../wire/json-shape.js';

/** What schemas take, as JSON schemas, for the description of the API. */

export type JsonSchema = z.core.JSONSchema.BaseSchema;

/** The JSON schema of what a schema takes, without fields that are always refused. */
export type InputSchema = (schema: z.core.$ZodType) => JsonSchema;

/** Of schemas that hide what they take in a function. */
const NOTED = new WeakMap<object, (of: InputSchema) => JsonSchema>();

/** Notes what a schema takes. */
export function taking<T extends z.ZodType>(schema: T, input: (of: InputSchema) => JsonSchema): T {
  NOTED.set(schema, input);
  return schema;
}

/** Makes the function that does it, which remembers the parts that schemas share. */
export function inputSchemas(): InputSchema {
  const known = new WeakMap<object, JsonSchema>();
  const of: InputSchema = (schema) => {
    const json = known.get(schema) ?? toJsonSchema(schema, of);
    known.set(schema, json);
    return json;
  };
  return of;
}

function toJsonSchema(schema: z.core.$ZodType, of: InputSchema): JsonSchema {
  const { $schema: _, ...json } = z.toJSONSchema(schema, {
    io: 'input',
    unrepresentable: 'any',
    override: ({ zodSchema, jsonSchema }) => {
      const { def } = zodSchema._zod;
      if (def.type === 'undefined') jsonSchema.not = {};
      // A schema behind a function that tidies up what clients send.
      const isBehind =
        def.type === 'pipe' && firstOf(def.in) === 'unknown' && def.out._zod.def.type !== 'transform';
      Object.assign(jsonSchema, notedOf(zodSchema)?.(of) ?? (isBehind && of(def.out)));
    },
  });
  return withoutRefused(json) as JsonSchema;
}

/** A schema with more conditions is another schema, whose parent is the one without them. */
function notedOf(schema: z.core.$ZodType): ((of: InputSchema) => JsonSchema) | undefined {
  const { parent } = schema._zod;
  return NOTED.get(schema) ?? (parent && notedOf(parent));
}

/** The type with which a chain of schemas begins. */
function firstOf(schema: z.core.$ZodType): string {
  const { def } = (schema as z.core.$ZodTypes)._zod;
  if (def.type === 'pipe') return firstOf(def.in);
  return def.type === 'optional' ? firstOf(def.innerType) : def.type;
}

function withoutRefused(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutRefused);
  if (!isObject(value)) return value;
  const entries = Object.entries(value).map(([name, part]) => [name, withoutRefused(part)] as const);
  return Object.fromEntries(entries.filter(([, part]) => !isRefused(part)));
}

/** Whether nothing fits a schema: the field of which it is one is always refused. */
function isRefused(schema: unknown): boolean {
  return isObject(schema) && isObject(schema.not) && Object.keys(schema.not).length === 0;
}
