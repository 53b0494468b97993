/** `lmserv keys add | list | revoke`: changes the key file from the command line while a server reads it. */

import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { MAX_FILE_BYTES } from '../../files/read-text.js';
import { resolveLink, writeAtomically } from '../../files/write-text.js';
import { withLock } from '../../install/early/lock.mjs';
import type { BudgetFields } from '../usage/budget.js';
import {
  hashKey,
  KEY_PREFIX,
  KeyFileError,
  nameSchema,
  parseKeys,
  readKeyFileSync,
  type KeyEntry,
} from './file.js';

export interface AddKeyOptions {
  readonly name: string;
  /** Tenants whose budget it may use and whose usage it may read, besides its own name; `*` means all. */
  readonly tenants?: readonly string[] | undefined;
  readonly admin?: boolean | undefined;
  /** Requests per second; 0 disables the limit, undefined means RATE_LIMIT_QPS. */
  readonly rateLimitQps?: number | undefined;
  readonly budget?: BudgetFields | undefined;
  /** Unix time, milliseconds. */
  readonly now?: number;
  /** How long to wait for another process that changes the file, milliseconds. */
  readonly lockWaitMs?: number;
}

/** A key without its hash, which is safe to show. */
export type KeyInfo = Omit<KeyEntry, 'sha256'>;

export interface AddedKey {
  /** The key itself. It is stored nowhere and cannot be shown again. */
  readonly key: string;
  readonly info: KeyInfo;
}

/** Longest wait for another `lmserv keys`, which holds the lock for milliseconds. */
const LOCK_WAIT_MS = 5_000;

/**
 * Creates a key of 256 random bits and writes its SHA-256 to the file, which is created if it is missing.
 *
 * @throws KeyFileError when the name is taken or not allowed, an option is not valid, or the file cannot be changed.
 */
export async function addKey(file: string, options: AddKeyOptions): Promise<AddedKey> {
  const name = nameSchema.safeParse(options.name);
  if (!name.success) throw new KeyFileError(`The name ${name.error.issues[0]?.message}`);
  const key = KEY_PREFIX + randomBytes(32).toString('base64url');
  const entry = newEntry(options, key);
  await change(
    file,
    () => {
      const keys = existsSync(file) ? read(file) : [];
      if (keys.some((existing) => existing.name === entry.name)) {
        throw new KeyFileError(`The key file ${file} already contains a key with that name`);
      }
      const text = render([...keys, entry]);
      // Validates the options too.
      parseKeys(text, file);
      if (Buffer.byteLength(text) > MAX_FILE_BYTES) {
        throw new KeyFileError(`The key file ${file} would be larger than ${MAX_FILE_BYTES / 2 ** 20} MiB`);
      }
      return { text, result: undefined };
    },
    options.lockWaitMs,
  );
  return { key, info: toInfo(entry) };
}

/** Leaves out fields with default values. */
function newEntry(options: AddKeyOptions, key: string): KeyEntry {
  const { name, tenants = [], admin = false, rateLimitQps, budget = {}, now = Date.now() } = options;
  return {
    name,
    sha256: hashKey(key).toString('hex'),
    ...(tenants.length > 0 && { tenants: [...tenants] }),
    ...(admin && { admin }),
    ...(rateLimitQps !== undefined && { rateLimitQps }),
    ...(Object.values(budget).some((limit) => limit !== undefined) && { budget }),
    created: new Date(now).toISOString(),
  };
}

/**
 * Replaces the text of the key file while no other process changes it.
 *
 * @throws KeyFileError, also when another process holds the lock for too long; the file is then as it was.
 */
async function change<Result>(
  file: string,
  next: () => { text: string; result: Result },
  lockWaitMs = LOCK_WAIT_MS,
): Promise<Result> {
  const target = resolveLink(file);
  const lock = `${target}.lock`;
  const signal = AbortSignal.timeout(lockWaitMs);
  try {
    mkdirSync(dirname(target), { recursive: true, mode: 0o700 });
    return await withLock(lock, { signal }, async () => {
      const { text, result } = next();
      writeAtomically(target, text);
      return result;
    });
  } catch (error) {
    if (error instanceof KeyFileError) throw error;
    if (error === signal.reason) {
      throw new KeyFileError(
        `${lock} is held by another process; remove it if no \`lmserv keys\` is running`,
      );
    }
    const { code } = error as NodeJS.ErrnoException;
    throw new KeyFileError(`The key file ${file} cannot be written (${code})`, { cause: error });
  }
}

function read(file: string): KeyEntry[] {
  return parseKeys(readKeyFileSync(file).text, file);
}

function render(keys: unknown[]): string {
  return `${JSON.stringify({ keys }, null, 2)}\n`;
}

function toInfo({ sha256: _, ...info }: KeyEntry): KeyInfo {
  return info;
}

/**
 * The keys in the file, in order, without hashes.
 *
 * @throws KeyFileError
 */
export function listKeys(file: string): KeyInfo[] {
  return read(file).map(toInfo);
}

/**
 * Removes the key with this name from the file. A running server that watches the file refuses the key from then on.
 *
 * @throws KeyFileError when there is no such key, or the file cannot be changed.
 */
export async function revokeKey(file: string, name: string): Promise<KeyInfo> {
  return change(file, () => {
    const keys = read(file);
    const revoked = keys.find((entry) => entry.name === name);
    // The message does not repeat the name, which may be the key itself by mistake.
    if (revoked === undefined) throw new KeyFileError(`The key file ${file} has no key with that name`);
    return { text: render(keys.filter((entry) => entry !== revoked)), result: toInfo(revoked) };
  });
}

/** The output of `keys add`. */
export function formatAddedKey({ key, info }: AddedKey): string {
  return `Key ${info.name}: ${key}\nThe key is not shown again; only its SHA-256 is stored.\n`;
}

/** The output of `keys list`: a table with one line per key. */
export function formatKeys(keys: readonly KeyInfo[]): string {
  const rows = keys.map((key) => [
    key.name,
    key.admin === true ? 'yes' : 'no',
    key.tenants?.map((tenant) => JSON.stringify(tenant).slice(1, -1)).join(',') || '-',
    key.rateLimitQps === undefined ? '-' : String(key.rateLimitQps),
    formatBudget(key.budget),
    key.created?.slice(0, 10) ?? '-',
  ]);
  const table = [['NAME', 'ADMIN', 'TENANTS', 'QPS', 'BUDGET', 'CREATED'], ...rows];
  const widths = table[0]!.map((_, column) => Math.max(...table.map((row) => row[column]!.length)));
  const line = (row: string[]): string => row.map((cell, column) => cell.padEnd(widths[column]!)).join('  ');
  return table.map((row) => `${line(row).trimEnd()}\n`).join('');
}

function formatBudget(budget: BudgetFields = {}): string {
  const { day, month, dayTokens, monthTokens } = budget;
  const limits = [
    day !== undefined && `${day}/day`,
    month !== undefined && `${month}/month`,
    dayTokens !== undefined && `${dayTokens} tokens/day`,
    monthTokens !== undefined && `${monthTokens} tokens/month`,
  ];
  return limits.filter(Boolean).join(' ') || '-';
}
