/**
 * The key file: its form, reading and checking it. It holds SHA-256 of keys, never a key; errors name the place that
 * is wrong and show nothing of what is written there, which might be a key put into the wrong field.
 */

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { budgetSchema } from '../usage/budget.js';
import { rateSchema } from './rate.js';

/** Generated keys begin so, which makes a leaked one easy to find; no name may. */
export const KEY_PREFIX = 'lms_';

/** Stands in a key's `tenants` for any tenant. */
export const ANY_TENANT = '*';

/** The key file, or what was asked to be done with it, is wrong. The message never holds a key or a hash. */
export class KeyFileError extends Error {
  override readonly name = 'KeyFileError';
}

const NAME_RULE =
  `must be 1 to 64 letters, digits or . _ - @, begin with a letter or digit, not begin with ${KEY_PREFIX} ` +
  'and not be anonymous';

/** Names end up in logs, usage tables and terminals. */
export const nameSchema = z
  .string(NAME_RULE)
  .regex(/^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/, NAME_RULE)
  .refine((name) => !name.startsWith(KEY_PREFIX) && name !== 'anonymous', NAME_RULE);

const entrySchema = z.strictObject({
  name: nameSchema,
  sha256: z
    .string('must be a text')
    .regex(/^[0-9a-f]{64}$/i, 'must be 64 hexadecimal digits')
    .transform((hex) => hex.toLowerCase()),
  /** Tenants it may spend for and read, besides its own name; `*` is any. */
  tenants: z.array(z.string().min(1).max(128)).optional(),
  /** May read everybody's usage and use the operators' routes. */
  admin: z.boolean().optional(),
  /** Requests per second; 0 is no limit, absent is the server's RATE_LIMIT_QPS. */
  rateLimitQps: rateSchema.optional(),
  budget: budgetSchema.optional(),
  /** When it was made, ISO 8601. */
  created: z.iso.datetime({ offset: true }).optional(),
});

const fileSchema = z.strictObject({ keys: z.array(entrySchema) }).superRefine(({ keys }, context) => {
  for (const field of ['name', 'sha256'] as const) {
    const values = keys.map((entry) => entry[field]);
    values.forEach((value, index) => {
      const first = values.indexOf(value);
      if (first === index) return;
      context.addIssue({
        code: 'custom',
        path: ['keys', index, field],
        message: `is that of keys.${first} too`,
      });
    });
  }
});

/** One key as the file holds it. */
export type KeyEntry = z.infer<typeof entrySchema>;

/** SHA-256 of a key's UTF-8 bytes. A key is random, so a slow hash would add nothing. */
export function hashKey(key: string): Buffer {
  return createHash('sha256').update(key).digest();
}

/** What is wrong and where; zod's own text for an unknown field would quote it. */
function describeIssue(issue: z.core.$ZodIssue): string {
  const text = issue.code === 'unrecognized_keys' ? 'has a field that is not known' : issue.message;
  return `${issue.path.join('.') || 'the top level'}: ${text}`;
}

/** The text of a JSON error without the part of the file that Node quotes in it. */
function jsonPlace(error: unknown, text: string): string {
  const position = /at position (\d+)/.exec(String(error))?.[1];
  return position === undefined ? '' : `, line ${text.slice(0, Number(position)).split('\n').length}`;
}

/**
 * Checks the text of a key file.
 *
 * @param file its path, for the message.
 * @throws KeyFileError
 */
export function parseKeys(text: string, file: string): KeyEntry[] {
  let json: unknown;
  try {
    json = JSON.parse(text.replace(/^\uFEFF/, ''));
  } catch (error) {
    // No cause: Node's message quotes the file.
    throw new KeyFileError(`The key file ${file} is not valid JSON${jsonPlace(error, text)}`);
  }
  const parsed = fileSchema.safeParse(json);
  if (parsed.success) return parsed.data.keys;
  throw new KeyFileError(`The key file ${file}: ${parsed.error.issues.map(describeIssue).join('; ')}`);
}

/**
 * Reads the text of a key file.
 *
 * @throws KeyFileError naming the file and the system's error code.
 */
export function readKeyText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new KeyFileError(`The key file ${file} cannot be read (${code})`, { cause: error });
  }
}
