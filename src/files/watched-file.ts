/** Noticing that a file has other contents, whatever was done to it, its links and its folders. */

import { setTimeout as delay } from 'node:timers/promises';
import { coalesce } from './coalesce.js';
import type { TextFile } from './read-text.js';

/** Between two looks, milliseconds. */
const POLL_MS = 1_000;

/** A changed file must stay the same for this long, milliseconds, because its writer may not have finished. */
const SETTLE_MS = 100;

/** A file that never settles is taken as it is after so many reads, or it would keep a revoked key alive. */
const SETTLE_READS = 5;

export interface WatchedFileOptions {
  /** The text in force. */
  readonly text: string;
  /** Reads the file, found by its path anew each time. */
  readonly read: () => Promise<TextFile>;
  /** Puts other contents into force; when it throws, those before stay. */
  readonly apply: (next: TextFile) => void | Promise<void>;
  /** Receives what `read` or `apply` threw, once until the file changes again. */
  readonly onError: (error: unknown) => void;
  /** Waits milliseconds without keeping the process alive. */
  readonly wait?: ((ms: number) => Promise<void>) | undefined;
}

type Found = { readonly file: TextFile } | { readonly error: unknown };

/**
 * Reads the file once a second and applies it when it has changed. It is read rather than watched: the system's events
 * follow a folder that is moved away, run out, and do not exist on network file systems, and time stamps can be the same
 * for two versions. Looks never overlap; what changes during a look is found by the next one.
 */
export class WatchedFile {
  readonly #options: WatchedFileOptions;
  readonly #wait: (ms: number) => Promise<void>;
  readonly #nextLook = coalesce(() => this.#look());
  /** Found by the last look, good or bad. */
  #seen: string;
  #anyway = false;
  #watching = false;

  constructor(options: WatchedFileOptions) {
    this.#options = options;
    this.#wait = options.wait ?? ((ms) => delay(ms, undefined, { ref: false }));
    this.#seen = contents({ file: { text: options.text, mode: 0 } });
  }

  /** Looks now, because the file may have changed since it was read, and then once a second until `close`. */
  watch(): void {
    if (this.#watching) return;
    this.#watching = true;
    void this.#poll();
  }

  /** Stops watching; a look that runs applies nothing more. */
  close(): void {
    this.#watching = false;
  }

  /**
   * Applies the file even if it has not changed, and without waiting for its writer, as SIGHUP asks for: what kept it
   * from being applied may be mended. Resolves when it is in force or has been refused; never rejects.
   */
  reload(): Promise<void> {
    this.#anyway = true;
    return this.#nextLook();
  }

  async #poll(): Promise<void> {
    while (this.#watching) {
      await this.#nextLook();
      await this.#wait(POLL_MS);
    }
  }

  async #look(): Promise<void> {
    const anyway = this.#anyway;
    this.#anyway = false;
    const found = anyway ? await this.#read() : await this.#readSettled();
    if (!anyway && (contents(found) === this.#seen || !this.#watching)) return;
    this.#seen = contents(found);
    try {
      if ('error' in found) throw found.error;
      await this.#options.apply(found.file);
    } catch (error) {
      this.#report(error);
    }
  }

  async #readSettled(): Promise<Found> {
    let found = await this.#read();
    for (let reads = 1; reads < SETTLE_READS && contents(found) !== this.#seen; reads += 1) {
      await this.#wait(SETTLE_MS);
      const before = contents(found);
      found = await this.#read();
      if (contents(found) === before) break;
    }
    return found;
  }

  async #read(): Promise<Found> {
    try {
      return { file: await this.#options.read() };
    } catch (error) {
      return { error };
    }
  }

  /** A report that fails must not end the looks. */
  #report(error: unknown): void {
    try {
      this.#options.onError(error);
    } catch {
      // There is nowhere else to report it.
    }
  }
}

/** Tells one state of the file from another: its text, or why it has none. */
function contents(found: Found): string {
  return 'file' in found ? found.file.text : `\0${String(found.error)}`;
}
