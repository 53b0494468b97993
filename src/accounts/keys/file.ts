/**
 * The key file: its schema, reading it and validating it. It contains SHA-256 hashes of keys, never a key. Errors name
 * the place that is wrong and quote nothing from the file, because a key may be in the wrong field.
 */

import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { z } from 'zod';
import { JsonError, parseJson } from '../../files/json.js';
import { readText, readTextSync, type TextFile } from '../../files/read-text.js';
import { budgetSchema } from '../usage/budget.js';
import { rateSchema } from './rate.js';
import { UserError } from '../../errors.js';

/** Generated keys start with this, so that a leaked key is easy to find. Names must not. */
export const KEY_PREFIX = 'lms_';

/** Reading more keys would delay requests noticeably. */
const MAX_KEYS = 10_000;

/** Number of keys validated without yielding to requests; takes a few milliseconds. */
const SLICE = 500;

/** Number of problems that an error message lists; further ones are counted. */
const MAX_LISTED = 10;

/** In a key's `tenants`, stands for every tenant. */
export const ANY_TENANT = '*';

/** The key file, or a change requested for it, is not valid. The message never contains a key or a hash. */
export class KeyFileError extends UserError {}

const NAME_RULE =
  `must be 1 to 64 letters, digits or . _ - @, begin with a letter or digit, not begin with ${KEY_PREFIX} ` +
  'and not be anonymous';

/** Restricted because names appear in logs, usage tables and terminals. */
export const nameSchema = z
  .string(NAME_RULE)
  .regex(/^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/, NAME_RULE)
  .refine((name) => !name.startsWith(KEY_PREFIX) && name !== 'anonymous', NAME_RULE);

const entrySchema = z.strictObject({
  name: nameSchema,
  sha256: z
    .string('must be a string')
    .regex(/^[0-9a-f]{64}$/i, 'must be 64 hexadecimal digits')
    .transform((hex) => hex.toLowerCase()),
  /** Tenants whose budget it may use and whose usage it may read, besides its own name; `*` means all. */
  tenants: z.array(z.string().min(1).max(128)).optional(),
  /** May read the usage of all tenants and use the operators' routes. */
  admin: z.boolean().optional(),
  /** Requests per second; 0 disables the limit. Default: RATE_LIMIT_QPS. */
  rateLimitQps: rateSchema.optional(),
  budget: budgetSchema.optional(),
  /** When the key was created, ISO 8601. */
  created: z.iso.datetime({ offset: true }).optional(),
});

/** The entries are validated separately, in slices. */
const fileSchema = z.strictObject({
  keys: z.array(z.unknown()).max(MAX_KEYS, `has more than ${MAX_KEYS} keys`),
});

/** One key in the file. */
export type KeyEntry = z.infer<typeof entrySchema>;

/** The SHA-256 of a key's UTF-8 bytes. Keys are random, so a slow hash would add nothing. */
export function hashKey(key: string): Buffer {
  return createHash('sha256').update(key).digest();
}

/**
 * Parses and validates the text of a key file.
 *
 * @param file the path, for error messages.
 * @throws KeyFileError
 */
export function parseKeys(text: string, file: string): KeyEntry[] {
  const slices = parseSlices(text, file);
  for (;;) {
    const { done, value } = slices.next();
    if (done) return value;
  }
}

/** Like `parseKeys`, but yields to the event loop between slices. */
export async function parseKeysInSlices(text: string, file: string): Promise<KeyEntry[]> {
  const slices = parseSlices(text, file);
  for (;;) {
    const { done, value } = slices.next();
    if (done) return value;
    await setImmediate();
  }
}

/** Yields after every slice. */
function* parseSlices(text: string, file: string): Generator<undefined, KeyEntry[]> {
  const json = readJson(text, file);
  yield;
  const top = fileSchema.safeParse(json);
  if (!top.success) throw new KeyFileError(`The key file ${file}: ${describeIssues(top.error.issues)}`);
  const checked = new CheckedKeys();
  for (const [index, entry] of top.data.keys.entries()) {
    if (index % SLICE === SLICE - 1) yield;
    checked.add(entry, index);
  }
  if (checked.issues.length === 0) return checked.keys;
  throw new KeyFileError(`The key file ${file}: ${describeIssues(checked.issues)}`);
}

type Issue = Pick<z.core.$ZodIssue, 'code' | 'path' | 'message'>;

/** The entries validated so far, and their problems. */
class CheckedKeys {
  readonly keys: KeyEntry[] = [];
  readonly issues: Issue[] = [];
  readonly #seen = { name: new Map<string, number>(), sha256: new Map<string, number>() };

  add(value: unknown, index: number): void {
    const parsed = entrySchema.safeParse(value);
    if (parsed.success) {
      this.keys.push(parsed.data);
      this.#checkUnique(parsed.data, index);
    } else {
      for (const issue of parsed.error.issues) {
        this.issues.push({ ...issue, path: ['keys', index, ...issue.path] });
      }
    }
  }

  #checkUnique(entry: KeyEntry, index: number): void {
    for (const field of ['name', 'sha256'] as const) {
      const first = this.#seen[field].get(entry[field]);
      if (first === undefined) this.#seen[field].set(entry[field], index);
      else {
        const message = `duplicates keys.${first}`;
        this.issues.push({ code: 'custom', path: ['keys', index, field], message });
      }
    }
  }
}

function readJson(text: string, file: string): unknown {
  try {
    return parseJson(text);
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    throw new KeyFileError(`The key file ${file} ${error.message}`);
  }
}

function describeIssues(issues: readonly Issue[]): string {
  const more = issues.length - MAX_LISTED;
  const listed = issues.slice(0, MAX_LISTED).map(describeIssue).join('; ');
  return more > 0 ? `${listed}; and ${more} more` : listed;
}

/** Says what is wrong and where; zod's own text for an unknown field would quote its name. */
function describeIssue(issue: Issue): string {
  const text = issue.code === 'unrecognized_keys' ? 'unknown field' : issue.message;
  return `${issue.path.join('.') || 'the top level'}: ${text}`;
}

/**
 * Reads a key file.
 *
 * @throws KeyFileError naming the file and the system's error code.
 */
export async function readKeyFile(file: string): Promise<TextFile> {
  try {
    return await readText(file);
  } catch (error) {
    throw readError(file, error);
  }
}

/** Like `readKeyFile`, for the start of the server and for commands. */
export function readKeyFileSync(file: string): TextFile {
  try {
    return readTextSync(file);
  } catch (error) {
    throw readError(file, error);
  }
}

function readError(file: string, cause: unknown): KeyFileError {
  const { code } = cause as NodeJS.ErrnoException;
  return new KeyFileError(`The key file ${file} cannot be read (${code})`, { cause });
}
