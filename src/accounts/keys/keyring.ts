/** The keys the server knows, and who stands behind each. */

import { timingSafeEqual } from 'node:crypto';
import type { Caller } from '../../contract.js';
import type { TextFile } from '../../files/read-text.js';
import { WatchedFile } from '../../files/watched-file.js';
import { toBudget, type Budget } from '../usage/budget.js';
import {
  ANY_TENANT,
  hashKey,
  KeyFileError,
  parseKeys,
  parseKeysInSlices,
  readKeyFile,
  readKeyFileSync,
  type KeyEntry,
} from './file.js';

export { KeyFileError } from './file.js';

export interface KeyringOptions {
  /** One key with an admin's rights, from API_KEY; empty is none. */
  readonly apiKey?: string | undefined;
  /** Name of that one key; `default` unless given. */
  readonly apiKeyName?: string | undefined;
  /** Path of the key file, from API_KEYS_FILE. */
  readonly file?: string | undefined;
  /** Why a changed file was not taken; the keys of before go on working. */
  readonly onError?: (error: Error) => void;
  /** Something an operator should put right, in a sentence. */
  readonly onWarning?: (message: string) => void;
  /** A changed file was taken; says how many keys there are now. */
  readonly onReload?: (size: number) => void;
  /** Waits milliseconds between looks at the file; for tests. */
  readonly wait?: ((ms: number) => Promise<void>) | undefined;
}

interface Key {
  readonly hash: Buffer;
  readonly caller: Caller;
  readonly budget?: Budget;
}

/** A key spends for its own name and the tenants it lists; with `*` for any. */
function tenantsOf(entry: KeyEntry): readonly string[] | undefined {
  const tenants = entry.tenants ?? [];
  if (entry.admin === true || tenants.includes(ANY_TENANT)) return undefined;
  return [...new Set([entry.name, ...tenants])];
}

function toKey(entry: KeyEntry): Key {
  const tenants = tenantsOf(entry);
  const caller: Caller = {
    name: entry.name,
    admin: entry.admin ?? false,
    ...(tenants && { tenants }),
    ...(entry.rateLimitQps !== undefined && { rateLimitQps: entry.rateLimitQps }),
  };
  return {
    hash: Buffer.from(entry.sha256, 'hex'),
    caller: Object.freeze(caller),
    ...(entry.budget && { budget: toBudget(entry.budget) }),
  };
}

/** Stands for the key that nobody has, so that an unknown one takes as long as a known one. */
const NOBODY: Key = { hash: Buffer.alloc(32), caller: Object.freeze({ name: '', admin: false }) };

export class Keyring {
  readonly #single: Key | undefined;
  readonly #options: KeyringOptions;
  readonly #watched: WatchedFile | undefined;
  #byHash: ReadonlyMap<string, Key> = new Map();
  #byName: ReadonlyMap<string, Key> = new Map();

  /**
   * Reads the file, if there is one.
   *
   * @throws KeyFileError when it cannot be read or is not valid.
   */
  constructor(options: KeyringOptions) {
    this.#options = options;
    const { apiKey, apiKeyName: name = 'default', file, wait } = options;
    if (apiKey) this.#single = { hash: hashKey(apiKey), caller: Object.freeze({ name, admin: true }) };
    if (file === undefined) {
      this.#use([]);
      return;
    }
    const { text, mode } = readKeyFileSync(file);
    this.#use(parseKeys(text, file));
    this.#warnOfMode(mode);
    const read = () => readKeyFile(file);
    const apply = (next: TextFile) => this.#apply(next, file);
    const onError = (error: unknown) => options.onError?.(error as Error);
    this.#watched = new WatchedFile({ text, read, apply, onError, wait });
  }

  /** A keyring of one key, which is an admin's. */
  static fromSingleKey(key: string, name = 'default'): Keyring {
    return new Keyring({ apiKey: key, apiKeyName: name });
  }

  /** How many keys there are. None may mean that authentication is off, which is the server's to decide. */
  get size(): number {
    return this.#byHash.size;
  }

  /**
   * Who presents this key; undefined when nobody does. Takes the same time whichever key it is or is like, however many
   * there are: it is looked up by its hash, whose likeness to another says nothing about the key, and compared once.
   */
  authenticate(presented: string): Caller | undefined {
    const hash = hashKey(presented);
    const key = this.#byHash.get(hash.toString('latin1')) ?? NOBODY;
    return timingSafeEqual(key.hash, hash) && presented !== '' ? key.caller : undefined;
  }

  /** The budget of the key of that name, if it has one. */
  budgetOf(name: string): Budget | undefined {
    return this.#byName.get(name)?.budget;
  }

  /**
   * Takes the file as it is now; for SIGHUP. A file that is missing or not valid changes nothing and is reported. Never
   * rejects.
   */
  async reload(): Promise<void> {
    await this.#watched?.reload();
  }

  /** Reloads whenever the file changes, until `close`. */
  watch(): void {
    this.#watched?.watch();
  }

  /** Stops watching. */
  close(): void {
    this.#watched?.close();
  }

  async #apply({ text, mode }: TextFile, file: string): Promise<void> {
    this.#use(await parseKeysInSlices(text, file));
    this.#warnOfMode(mode);
    this.#options.onReload?.(this.size);
  }

  #use(entries: readonly KeyEntry[]): void {
    const keys = entries.map(toKey);
    if (this.#single) keys.unshift(this.#single);
    const byName = new Map(keys.map((key) => [key.caller.name, key]));
    if (byName.size < keys.length) {
      throw new KeyFileError(
        `The key file ${this.#options.file} contains a key named "${this.#single?.caller.name}", which is reserved for API_KEY`,
      );
    }
    this.#byName = byName;
    this.#byHash = new Map(keys.map((key) => [key.hash.toString('latin1'), key]));
  }

  #warnOfMode(mode: number): void {
    if ((mode & 0o077) === 0) return;
    this.#options.onWarning?.(
      `The key file ${this.#options.file} has mode 0${mode.toString(8)}; chmod 600 keeps other accounts out`,
    );
  }
}
