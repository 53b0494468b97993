/** The keys that the server accepts, and their callers. */

import { createHash, timingSafeEqual } from 'node:crypto';
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

export interface KeyringOptions {
  /** A key with admin rights named `default`, from API_KEY; empty means none. */
  readonly apiKey?: string | undefined;
  /** Path of the key file, from API_KEYS_FILE. */
  readonly file?: string | undefined;
  /** Receives the reason why a changed file was rejected; the previous keys stay valid. */
  readonly onError?: (error: Error) => void;
  /** Receives a problem that the operator should fix, as a sentence. */
  readonly onWarning?: (message: string) => void;
  /** Receives the number of keys after a changed file was loaded. */
  readonly onReload?: (size: number) => void;
  /** Waits between reads of the file, milliseconds; for tests. */
  readonly wait?: ((ms: number) => Promise<void>) | undefined;
}

interface Key {
  readonly hash: Buffer;
  readonly caller: Caller;
  readonly budget?: Budget;
}

/** Compared with unknown keys, so that they take as long as known ones. */
const DUMMY_KEY: Key = { hash: Buffer.alloc(32), caller: Object.freeze({ name: '', admin: false }) };

const ENV_CALLER: Caller = Object.freeze({ name: 'default', admin: true });

export class Keyring {
  /** The key of API_KEY. */
  readonly #envKey: Key | undefined;
  readonly #options: KeyringOptions;
  readonly #watched: WatchedFile | undefined;
  #byHash: ReadonlyMap<string, Key> = new Map();
  #byName: ReadonlyMap<string, Key> = new Map();
  /** Made when they are first asked for. */
  #ids: ReadonlySet<string> | undefined;
  /** Also of keys that are no longer accepted, as long as a request of theirs runs. */
  readonly #byCaller = new WeakMap<Caller, Key>();

  /**
   * Reads the key file, if one is configured.
   *
   * @throws KeyFileError when the file cannot be read or is not valid.
   */
  constructor(options: KeyringOptions) {
    this.#options = options;
    const { apiKey, file, wait } = options;
    if (apiKey) this.#envKey = { hash: hashKey(apiKey), caller: ENV_CALLER };
    if (file === undefined) {
      this.#use([]);
      return;
    }
    const { text, mode } = readKeyFileSync(file);
    this.#use(parseKeys(text, file));
    this.#warnAboutMode(mode);
    const read = () => readKeyFile(file);
    const apply = (next: TextFile) => this.#apply(next, file);
    const onError = (error: unknown) => options.onError?.(error as Error);
    this.#watched = new WatchedFile({ text, read, apply, onError, wait });
  }

  /** The number of keys. */
  get size(): number {
    return this.#byHash.size;
  }

  /**
   * The caller that a key belongs to; undefined for an unknown key. Takes the same time for every key, known or similar
   * to a known one: it looks the key up by its hash, which reveals nothing about similar keys, and compares once.
   */
  authenticate(presented: string): Caller | undefined {
    const hash = hashKey(presented);
    const key = this.#byHash.get(hash.toString('latin1')) ?? DUMMY_KEY;
    return timingSafeEqual(key.hash, hash) && presented !== '' ? key.caller : undefined;
  }

  /** Identifies the key by which a caller came; undefined for a caller without a key. Nobody can compute it from the name. */
  idOf(caller: Caller): string | undefined {
    const key = this.#byCaller.get(caller);
    return key && idOf(key);
  }

  /** Whether the key with this id is still accepted. */
  holds(id: string): boolean {
    this.#ids ??= new Set([...this.#byName.values()].map(idOf));
    return this.#ids.has(id);
  }

  /** The budget of the key with this name, if it has one. */
  budgetOf(name: string): Budget | undefined {
    return this.#byName.get(name)?.budget;
  }

  /**
   * Loads the file again, for SIGHUP. A file that is missing or not valid is reported and changes nothing. Never rejects.
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
    this.#warnAboutMode(mode);
    this.#options.onReload?.(this.size);
  }

  #use(entries: readonly KeyEntry[]): void {
    const keys = entries.map(toKey);
    if (this.#envKey) keys.unshift(this.#envKey);
    const byName = new Map(keys.map((key) => [key.caller.name, key]));
    if (byName.size < keys.length) {
      throw new KeyFileError(
        `The key file ${this.#options.file} contains a key named "${this.#envKey?.caller.name}", ` +
          'which is reserved for API_KEY; rename it',
      );
    }
    this.#byName = byName;
    this.#ids = undefined;
    for (const key of keys) this.#byCaller.set(key.caller, key);
    this.#byHash = new Map(keys.map((key) => [key.hash.toString('latin1'), key]));
  }

  #warnAboutMode(mode: number): void {
    if ((mode & 0o077) === 0) return;
    this.#options.onWarning?.(
      `The key file ${this.#options.file} has mode 0${mode.toString(8)}; ` +
        'run chmod 600 to keep other accounts out',
    );
  }
}

/** Another key under the same name is another one. */
function idOf({ hash, caller }: Key): string {
  return createHash('sha256').update(hash).update(caller.name).digest('hex');
}

function toKey(entry: KeyEntry): Key {
  const tenants = chargeableTenants(entry);
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

/** The key's own name and the tenants it lists; undefined means any. */
function chargeableTenants(entry: KeyEntry): readonly string[] | undefined {
  const tenants = entry.tenants ?? [];
  if (entry.admin === true || tenants.includes(ANY_TENANT)) return undefined;
  return [...new Set([entry.name, ...tenants])];
}
