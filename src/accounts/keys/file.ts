/**
 * The key file: its form, reading and checking it. It holds SHA-256 of keys, never a key; errors name the place that
 * is wrong and show nothing of what is written there, which might be a key put into the wrong field.
 */

import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { z } from 'zod';
import { JsonError, parseJson } from '../../files/json.js';
import { readText, readTextSync, type TextFile } from '../../files/read-text.js';
import { budgetSchema } from '../usage/budget.js';
import { rateSchema } from './rate.js';

/** Generated keys begin so, which makes a leaked one easy to find; no name may. */
export const KEY_PREFIX = 'lms_';

/** Reading more would take long enough to be felt by requests, and for few reasons. */
export const MAX_KEYS = 10_000;

/** Keys checked without a pause; a few milliseconds' worth. */
const SLICE = 500;

/** Faults of a file that are named; the others are counted. */
const MAX_NAMED = 10;

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

/** Its entries are checked one by one, because many of them take a while. */
const fileSchema = z.strictObject({
  keys: z.array(z.unknown()).max(MAX_KEYS, `has more than ${MAX_KEYS} keys`),
});

/** One key as the file holds it. */
export type KeyEntry = z.infer<typeof entrySchema>;

/** SHA-256 of a key's UTF-8 bytes. A key is random, so a slow hash would add nothing. */
export function hashKey(key: string): Buffer {
  return createHash('sha256').update(key).digest();
}

/**
 * Checks the text of a key file.
 *
 * @param file its path, for the message.
 * @throws KeyFileError
 */
export function parseKeys(text: string, file: string): KeyEntry[] {
  const slices = parseSlices(text, file);
  for (;;) {
    const { done, value } = slices.next();
    if (done) return value;
  }
}

/** As `parseKeys`, letting requests in between. */
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

/** The entries so far, and what is wrong with them. */
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
  const more = issues.length - MAX_NAMED;
  const named = issues.slice(0, MAX_NAMED).map(describeIssue).join('; ');
  return more > 0 ? `${named}; and ${more} more` : named;
}

/** What is wrong and where; zod's own text for an unknown field would quote it. */
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
    throw cannotRead(file, error);
  }
}

/** As `readKeyFile`, at the start and for commands. */
export function readKeyFileSync(file: string): TextFile {
  try {
    return readTextSync(file);
  } catch (error) {
    throw cannotRead(file, error);
  }
}

function cannotRead(file: string, cause: unknown): KeyFileError {
  const { code } = cause as NodeJS.ErrnoException;
  return new KeyFileError(`The key file ${file} cannot be read (${code})`, { cause });
}
