import { z } from 'zod';
import type { JsonObject } from '../../contract.js';
import { LMServError } from '../../errors.js';
import { isObject } from '../../wire/json-shape.js';
import { taking } from './input-schema.js';

/** Max characters of a field's path in an error; clients choose the keys, which may be as long as the body. */
const MAX_PATH = 128;

/**
 * Parses a body with a schema; fields that the schema does not name are dropped.
 *
 * @throws LMServError `invalid_value`, whose message and `param` name the first invalid field.
 */
export function validate<T extends z.ZodType>(schema: T, body: unknown): z.output<T> {
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const issue = findDeepest(result.error.issues[0]!);
  const param = issue.path.join('.').slice(0, MAX_PATH).toWellFormed();
  throw new LMServError('invalid_value', param ? `${param}: ${issue.message}` : issue.message, {
    param: param || undefined,
  });
}

/** In a union, the branch that matched furthest describes the problem best. */
function findDeepest(
  issue: z.core.$ZodIssue,
  base: readonly PropertyKey[] = [],
): { path: PropertyKey[]; message: string } {
  const path = [...base, ...issue.path];
  if (issue.code !== 'invalid_union' || issue.errors.length === 0) return { path, message: issue.message };
  const branches = issue.errors.flatMap((branch) => (branch[0] ? [findDeepest(branch[0], path)] : []));
  const furthest = branches.sort((a, b) => b.path.length - a.path.length)[0];
  return furthest && furthest.path.length > path.length ? furthest : { path, message: issue.message };
}

/** Makes a field optional; null counts as absent, because OpenAI's clients send it for unset fields. */
export function optional<T extends z.ZodType>(schema: T) {
  return schema.nullish().transform((value) => value ?? undefined);
}

/** As `optional`, for a field that clients also leave empty: an empty text, list or object counts as absent too. */
export function filled<T extends z.ZodType>(schema: T) {
  return z
    .unknown()
    .optional()
    .transform((value) => (isEmpty(value) ? undefined : value))
    .pipe(schema.optional());
}

function isEmpty(value: unknown): boolean {
  if (value === null || value === '') return true;
  return typeof value === 'object' && Object.keys(value).length === 0;
}

/**
 * A list whose validation stops at the first invalid element. Zod's own list collects an issue for every element, and a
 * body of 1 MiB can hold 350,000 of them: seconds and hundreds of megabytes.
 */
export function list<T extends z.ZodType>(element: T, { max = Infinity, min = 1 } = {}) {
  const items = z
    .custom<unknown[]>(Array.isArray, 'must be a list')
    .transform((items, context): z.output<T>[] => {
      if (items.length < min || items.length > max) {
        const bound = items.length < min ? `at least ${min}` : `at most ${max}`;
        context.addIssue(`must have ${bound} elements`);
        return z.NEVER;
      }
      const parsed: z.output<T>[] = [];
      for (const [index, item] of items.entries()) {
        const result = element.safeParse(item);
        if (!result.success) return fail(context, index, result.error);
        parsed.push(result.data);
      }
      return parsed;
    });
  return taking(items, (of) => ({
    type: 'array',
    items: of(element),
    minItems: min,
    ...(max < Infinity && { maxItems: max }),
  }));
}

/** An object with any keys, whose validation stops at the first invalid key or value, for the same reason. */
export function map<T extends z.ZodType>(key: RegExp, keyMessage: string, value: T) {
  const fields = z
    .custom<JsonObject>(isObject, 'must be an object')
    .transform((fields, context): Record<string, z.output<T>> => {
      const parsed: [string, z.output<T>][] = [];
      for (const [name, field] of Object.entries(fields)) {
        if (!key.test(name)) {
          context.addIssue(keyMessage);
          return z.NEVER;
        }
        const result = value.safeParse(field);
        if (!result.success) return fail(context, name, result.error);
        parsed.push([name, result.data]);
      }
      return Object.fromEntries(parsed);
    });
  return taking(fields, (of) => ({ type: 'object', additionalProperties: of(value) }));
}

function fail(context: z.core.$RefinementCtx, at: PropertyKey, error: z.ZodError): never {
  const issue = error.issues[0]!;
  context.issues.push({ ...issue, path: [at, ...issue.path] } as z.core.$ZodRawIssue);
  return z.NEVER;
}
