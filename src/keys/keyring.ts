/** The keys the server knows, and who stands behind each. */

import { timingSafeEqual } from 'node:crypto';
import { statSync } from 'node:fs';
import type { Caller } from '../contract.js';
import { toBudget, type Budget } from '../usage/budget.js';
import { ANY_TENANT, hashKey, KeyFileError, parseKeys, readKeyText, type KeyEntry } from './file.js';
import { watchFolder } from './watch.js';

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

export class Keyring {
  readonly #single: Key | undefined;
  readonly #options: KeyringOptions;
  #keys: readonly Key[];
  /** What was last read, good or bad; undefined when it could not be read. */
  #text: string | undefined;
  #stopWatching: (() => void) | undefined;

  /**
   * Reads the file, if there is one.
   *
   * @throws KeyFileError when it cannot be read or is not valid.
   */
  constructor(options: KeyringOptions) {
    this.#options = options;
    const { apiKey, apiKeyName: name = 'default' } = options;
    if (apiKey) this.#single = { hash: hashKey(apiKey), caller: Object.freeze({ name, admin: true }) };
    this.#text = options.file === undefined ? undefined : readKeyText(options.file);
    this.#keys = this.#parse(this.#text);
  }

  /** A keyring of one key, which is an admin's. */
  static fromSingleKey(key: string, name = 'default'): Keyring {
    return new Keyring({ apiKey: key, apiKeyName: name });
  }

  /** How many keys there are. None may mean that authentication is off, which is the server's to decide. */
  get size(): number {
    return this.#keys.length;
  }

  /**
   * Who presents this key; undefined when nobody does. Takes the same time whichever key it is or is like: hashes of
   * equal length are compared, and always all of them.
   */
  authenticate(presented: string): Caller | undefined {
    const hash = hashKey(presented);
    let caller: Caller | undefined;
    for (const key of this.#keys) {
      if (timingSafeEqual(key.hash, hash)) caller = key.caller;
    }
    return presented === '' ? undefined : caller;
  }

  /** The budget of the key of that name, if it has one. */
  budgetOf(name: string): Budget | undefined {
    return this.#keys.find((key) => key.caller.name === name)?.budget;
  }

  /**
   * Takes the file as it is now, at once; for SIGHUP. A file that is missing or not valid changes nothing and is
   * reported.
   *
   * @returns whether the keys are those of the file.
   */
  reload(): boolean {
    const { file, onError, onReload } = this.#options;
    if (file === undefined) return true;
    try {
      this.#text = undefined;
      this.#text = readKeyText(file);
      this.#keys = this.#parse(this.#text);
    } catch (error) {
      onError?.(error as Error);
      return false;
    }
    onReload?.(this.size);
    return true;
  }

  /**
   * Reloads whenever the file changes, until `close`. Where the system cannot watch, as on network file systems,
   * `reload` does it.
   */
  watch(): void {
    const { file, onError } = this.#options;
    if (file === undefined || this.#stopWatching !== undefined) return;
    this.#stopWatching = watchFolder(file, {
      onChange: () => this.#reloadIfChanged(file),
      onError: (cause) => onError?.(new KeyFileError(`The key file ${file} is not watched`, { cause })),
    });
    // It may have changed since it was read.
    this.#reloadIfChanged(file);
  }

  /** Stops watching. */
  close(): void {
    this.#stopWatching?.();
    this.#stopWatching = undefined;
  }

  /** The folder may be busy with other files, and one change comes as several events. */
  #reloadIfChanged(file: string): void {
    let text: string | undefined;
    try {
      text = readKeyText(file);
    } catch {
      text = undefined;
    }
    if (text !== this.#text) this.reload();
  }

  #parse(text: string | undefined): Key[] {
    const single = this.#single ? [this.#single] : [];
    const { file } = this.#options;
    if (text === undefined || file === undefined) return single;
    const keys = parseKeys(text, file).map(toKey);
    if (single.some(({ caller }) => keys.some((key) => key.caller.name === caller.name))) {
      throw new KeyFileError(`The key file ${file} has a key of the name that the key of API_KEY has`);
    }
    this.#warnOfMode(file);
    return [...single, ...keys];
  }

  #warnOfMode(file: string): void {
    const mode = statSync(file).mode & 0o777;
    if ((mode & 0o077) === 0) return;
    this.#options.onWarning?.(
      `The key file ${file} has mode 0${mode.toString(8)}; chmod 600 keeps other accounts out`,
    );
  }
}
