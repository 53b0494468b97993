import { z } from 'zod';
import { LMServError } from '../errors.js';

/**
 * Checks a body against a schema; what the schema does not name is dropped.
 *
 * @throws LMServError `invalid_value`, its message and `param` naming the first field that is wrong.
 */
export function validate<T extends z.ZodType>(schema: T, body: unknown): z.output<T> {
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const issue = deepest(result.error.issues[0]!);
  const param = issue.path.join('.');
  throw new LMServError('invalid_value', param ? `${param}: ${issue.message}` : issue.message, {
    param: param || undefined,
  });
}

/** In a union the branch that got furthest says best what is wrong. */
function deepest(
  issue: z.core.$ZodIssue,
  base: readonly PropertyKey[] = [],
): { path: PropertyKey[]; message: string } {
  const path = [...base, ...issue.path];
  if (issue.code !== 'invalid_union' || issue.errors.length === 0) return { path, message: issue.message };
  const branches = issue.errors.flatMap((branch) => (branch[0] ? [deepest(branch[0], path)] : []));
  const furthest = branches.sort((a, b) => b.path.length - a.path.length)[0];
  return furthest && furthest.path.length > path.length ? furthest : { path, message: issue.message };
}

/** OpenAI's clients send null for a field they do not set. */
export function optional<T extends z.ZodType>(schema: T) {
  return schema.nullish().transform((value) => value ?? undefined);
}
