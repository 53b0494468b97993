/** Detects that a file's contents have changed, whatever was done to it, its links and its folders. */

import { setTimeout as delay } from 'node:timers/promises';
import { coalesce } from './coalesce.js';
import type { TextFile } from './read-text.js';

/** Interval between two checks, milliseconds. */
const POLL_MS = 1_000;

/** A changed file must stay the same for this time, milliseconds, because its writer may not have finished. */
const SETTLE_MS = 100;

/** After this many reads a file that keeps changing is applied anyway, or it would keep a revoked key valid. */
const SETTLE_READS = 5;

export interface WatchedFileOptions {
  /** The text that was applied last. */
  readonly text: string;
  /** Reads the file, opening its path each time. */
  readonly read: () => Promise<TextFile>;
  /** Applies new contents; when it throws, the previous ones stay in effect. */
  readonly apply: (next: TextFile) => void | Promise<void>;
  /** Receives the errors of `read` and `apply`, once until the file changes again. */
  readonly onError: (error: unknown) => void;
  /** Waits, milliseconds, without keeping the process alive. */
  readonly wait?: ((ms: number) => Promise<void>) | undefined;
}

type ReadResult = { readonly file: TextFile } | { readonly error: unknown };

/**
 * Reads the file once a second and applies it when it has changed. Reading is more reliable than watching: the system's
 * events follow a folder that is moved away, can run out, and do not exist on network file systems, and two versions can
 * have the same timestamp. Checks never overlap; the next check finds what changes during one.
 */
export class WatchedFile {
  readonly #options: WatchedFileOptions;
  readonly #wait: (ms: number) => Promise<void>;
  readonly #nextCheck = coalesce(() => this.#check());
  /** The result of the last check, valid or not. */
  #seen: string;
  #forced = false;
  #watching = false;

  constructor(options: WatchedFileOptions) {
    this.#options = options;
    this.#wait = options.wait ?? ((ms) => delay(ms, undefined, { ref: false }));
    this.#seen = contents({ file: { text: options.text, mode: 0 } });
  }

  /** Checks now, because the file may have changed since it was read, and then once a second until `close`. */
  watch(): void {
    if (this.#watching) return;
    this.#watching = true;
    void this.#poll();
  }

  /** Stops watching; a running check applies nothing any more. */
  close(): void {
    this.#watching = false;
  }

  /**
   * Applies the file even if it has not changed, and without waiting for its writer. For SIGHUP: the cause of an earlier
   * failure may be fixed. Resolves when the file has been applied or rejected; never rejects.
   */
  reload(): Promise<void> {
    this.#forced = true;
    return this.#nextCheck();
  }

  async #poll(): Promise<void> {
    while (this.#watching) {
      await this.#nextCheck();
      await this.#wait(POLL_MS);
    }
  }

  async #check(): Promise<void> {
    const forced = this.#forced;
    this.#forced = false;
    const result = forced ? await this.#read() : await this.#readSettled();
    if (!forced && (contents(result) === this.#seen || !this.#watching)) return;
    this.#seen = contents(result);
    try {
      if ('error' in result) throw result.error;
      await this.#options.apply(result.file);
    } catch (error) {
      this.#report(error);
    }
  }

  async #readSettled(): Promise<ReadResult> {
    let result = await this.#read();
    for (let reads = 1; reads < SETTLE_READS && contents(result) !== this.#seen; reads += 1) {
      await this.#wait(SETTLE_MS);
      const before = contents(result);
      result = await this.#read();
      if (contents(result) === before) break;
    }
    return result;
  }

  async #read(): Promise<ReadResult> {
    try {
      return { file: await this.#options.read() };
    } catch (error) {
      return { error };
    }
  }

  /** An error handler that throws must not stop the checks. */
  #report(error: unknown): void {
    try {
      this.#options.onError(error);
    } catch {
      // There is nowhere else to report it.
    }
  }
}

/** Identifies a state of the file: its text, or the reason why it cannot be read. */
function contents(result: ReadResult): string {
  return 'file' in result ? result.file.text : `\0${String(result.error)}`;
}
