/**
 * Usage per tenant, key, model and day, in SQLite. `record` only adds up in memory; a batch goes to disk in one
 * transaction every `flushMs`, so a killed process loses less than the last second and a request never waits for the
 * disk. Nothing here throws into a request: a disk that is full or locked is reported once, and what was counted is kept.
 */

import { causeOf, codeOf, UsageTable, type Range } from './database.js';
import { dayOf, type Day } from './day.js';
import { countsOf, storedName, type UsageEntry } from './entry.js';
import { reportPages, type UsageFilter, type UsageRow } from './pages.js';
import { Pending } from './pending.js';
import { addSpending, noSpending, SpendingCache, type AccountKind, type SpentNow } from './spending.js';

export { UsageFileError } from './database.js';
export type { UsageEntry } from './entry.js';
export type { UsageFilter, UsageRow } from './pages.js';
export type { AccountKind, Spent, SpentNow } from './spending.js';

export interface UsageOptions {
  /** Path of the SQLite file, such as `data/usage.sqlite`; it and its folder are made when missing. */
  readonly file: string;
  /** Longest time a counted request stays in memory only, milliseconds. */
  readonly flushMs?: number;
  /** Unix time, milliseconds. */
  readonly now?: () => number;
  /** Told once of each reason why the file cannot be written or read; the server goes on. */
  readonly onError: (error: Error) => void;
  /** Told when it can be written again. */
  readonly onRecovery?: (message: string) => void;
}

/** What is in memory only. */
export interface UsageBacklog {
  /** Rows that wait to be written. */
  readonly rows: number;
  /** Requests that found no room there and are not counted, since the start. */
  readonly uncounted: number;
}

export interface UsageStore {
  /** Counts one request that has ended. Cheap; never throws. */
  record(entry: UsageEntry): void;
  /**
   * Rows by day, tenant and model, in pages that take a few milliseconds each; what is not on disk yet is in them too.
   * Nothing is held open between two pages.
   *
   * @throws when the file cannot be read.
   */
  pages(filter?: UsageFilter): Generator<UsageRow[]>;
  /**
   * What a tenant or a key spent today and this month (UTC), this process's requests up to the last one. Another
   * process's show after `flushMs`. From memory but for an account's first time; when the file cannot be read then,
   * it is reported and only what is in memory counts.
   */
  spent(kind: AccountKind, name: string): SpentNow;
  readonly backlog: UsageBacklog;
  /** Writes what is left and closes the file; a second call does nothing. */
  close(): void;
}

const FLUSH_MS = 500;
/** While writing fails it is tried again after twice as long each time, up to this. */
const MAX_RETRY_MS = 30_000;
/** Rows held while the disk takes none, about 20 MB. */
const MAX_PENDING = 20_000;
/** Rows written before the event loop has its turn. */
const FLUSH_ROWS = 100;
/** Accounts whose sums are held in memory. */
const MAX_ACCOUNTS = 10_000;

/**
 * Opens or creates the usage file.
 *
 * @throws UsageFileError naming the file, when it is damaged, another program's, of a newer version or unreadable.
 */
export function openUsageStore(options: UsageOptions): UsageStore {
  return new SqliteUsageStore(options);
}

const WRITE = 'Usage cannot be written and is kept in memory';
const READ = 'Spending cannot be read, so a budget may be overrun';
const REPORT = 'Usage cannot be reported';

class SqliteUsageStore implements UsageStore {
  readonly #file: string;
  readonly #flushMs: number;
  readonly #now: () => number;
  readonly #onError: (error: Error) => void;
  readonly #onRecovery: (message: string) => void;
  readonly #pending = new Pending(MAX_PENDING);
  readonly #spending = new SpendingCache(MAX_ACCOUNTS);
  /** Undefined while the file that has taken the place of another cannot be opened. */
  #table: UsageTable | undefined;
  #timer: NodeJS.Timeout | undefined;
  #writes = 0;
  #failures = 0;
  /** What was reported and has not ended since, by what cannot be done. */
  readonly #reported = new Map<string, string>();
  #uncounted = 0;
  /** Of them, those since the file was last written. */
  #uncountedNow = 0;
  #version = 0;
  #versionRead = -Infinity;
  #readable = true;
  #closed = false;

  constructor({ file, flushMs = FLUSH_MS, now = Date.now, onError, onRecovery }: UsageOptions) {
    this.#table = new UsageTable(file);
    this.#file = file;
    this.#flushMs = flushMs;
    this.#now = now;
    this.#onError = onError;
    this.#onRecovery = onRecovery ?? (() => undefined);
  }

  get backlog(): UsageBacklog {
    return { rows: this.#pending.size, uncounted: this.#uncounted };
  }

  record(entry: UsageEntry): void {
    if (this.#closed)
      return this.#report('A request ended after the usage file was closed and is not counted');
    const row = {
      tenant: storedName(entry.tenant),
      key: storedName(entry.key),
      model: storedName(entry.model),
      day: this.#today(),
      counts: countsOf(entry),
    };
    this.#spending.add(row);
    if (!this.#pending.add(row)) this.#drop();
    this.#arm();
  }

  *pages(filter: UsageFilter = {}): Generator<UsageRow[]> {
    this.#flush();
    const { from, to, tenants } = filter;
    const source = {
      stored: (range: Range) => this.#opened().select(range),
      pending: () => this.#pending.rows(),
      writes: () => this.#writes,
    };
    try {
      yield* reportPages(source, { from, to, tenants: tenants?.map(storedName) });
      this.#reported.delete(REPORT);
    } catch (error) {
      this.#reportOnce(REPORT, error);
      throw error;
    }
  }

  spent(kind: AccountKind, name: string): SpentNow {
    const today = this.#today();
    const account = storedName(name);
    this.#noticeOthers();
    return this.#spending.get(kind, account, today) ?? this.#load(kind, account, today);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#try('The usage file is busy', () => this.#table?.bePatient());
    while (this.#flush() && this.#pending.size > 0);
    this.#try('The usage file was not closed in order', () => this.#table?.close());
  }

  #today(): Day {
    return dayOf(this.#now());
  }

  #opened(): UsageTable {
    if (!this.#table) throw new Error('The usage file is not open');
    return this.#table;
  }

  #arm(): void {
    if (this.#timer !== undefined || this.#closed) return;
    const delay = Math.min(this.#flushMs * 2 ** this.#failures, Math.max(MAX_RETRY_MS, this.#flushMs));
    this.#timer = setTimeout(() => this.#flush(), delay).unref();
  }

  /** Writes the oldest rows; false when that failed. What is left is written a little later. */
  #flush(): boolean {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#pending.size === 0) return true;
    const rows = this.#pending.oldest(FLUSH_ROWS);
    try {
      this.#reopenIfReplaced();
      this.#opened().add(rows);
    } catch (error) {
      this.#failures = Math.min(this.#failures + 1, 20);
      this.#reportFlush(error);
      this.#arm();
      return false;
    }
    this.#pending.remove(rows);
    this.#writes += 1;
    this.#failures = 0;
    if (this.#pending.size > 0 && !this.#closed) this.#timer = setTimeout(() => this.#flush(), 1).unref();
    else this.#noticeRecovery();
    return true;
  }

  /** A file that was removed or replaced would take counts that nobody ever sees. */
  #reopenIfReplaced(): void {
    if (this.#table?.inPlace()) return;
    if (this.#table) {
      this.#report(
        `The usage file ${this.#file} was removed or replaced; the one in its place is used from now on`,
      );
      const former = this.#table;
      this.#table = undefined;
      // Before the other is opened: the two would take the same log for theirs.
      this.#try('The former usage file was not closed in order', () => former.close());
    }
    this.#table = new UsageTable(this.#file, { serving: !this.#closed });
    this.#spending.clear();
  }

  #noticeRecovery(): void {
    const uncounted = this.#uncountedNow === 0 ? '' : `; ${this.#uncountedNow} requests were not counted`;
    this.#uncountedNow = 0;
    if (this.#reported.delete(WRITE)) this.#onRecovery(`Usage is written again${uncounted}`);
  }

  #drop(): void {
    this.#uncounted += 1;
    this.#uncountedNow += 1;
    if (this.#uncountedNow > 1) return;
    this.#report(
      `${this.#pending.size} rows of usage wait for the file; requests that need another are not counted`,
    );
  }

  #reportFlush(error: unknown): void {
    // Two processes on one file collide now and then; the next attempt mends that.
    const collided = this.#failures === 1 && codeOf(error) === 'SQLITE_BUSY';
    if (this.#closed) this.#report(`Usage cannot be written: ${this.#pending.size} rows are lost`, error);
    else if (!collided) this.#reportOnce(WRITE, error);
  }

  /** Forgets the sums when another process wrote; asks at most once every `flushMs`, also whether the file is back. */
  #noticeOthers(): void {
    const now = this.#now();
    if (Math.abs(now - this.#versionRead) < this.#flushMs) return;
    this.#versionRead = now;
    const version = this.#read((table) => table.version());
    if (version === undefined) return;
    if (version !== this.#version || !this.#readable) this.#spending.clear();
    this.#version = version;
    this.#readable = true;
  }

  /** While the file cannot be read, no further request tries to: only what is in memory counts. */
  #load(kind: AccountKind, name: string, today: Day): SpentNow {
    const spent = (this.#readable && this.#read((table) => table.spent(kind, name, today))) || noSpending();
    for (const row of this.#pending.rows()) {
      if (row[kind] === name) addSpending(spent, row.counts, row.day, today);
    }
    this.#spending.set(kind, name, today, spent);
    return spent;
  }

  #read<Result>(read: (table: UsageTable) => Result): Result | undefined {
    try {
      return read(this.#opened());
    } catch (error) {
      this.#readable = false;
      this.#reportOnce(READ, error);
      return undefined;
    }
  }

  #try(failure: string, action: () => void): void {
    try {
      action();
    } catch (error) {
      this.#report(failure, error);
    }
  }

  /** Reports what cannot be done when that begins and when its cause changes. */
  #reportOnce(failure: string, error: unknown): void {
    const cause = causeOf(error);
    if (this.#reported.get(failure) === cause) return;
    this.#reported.set(failure, cause);
    this.#report(failure, error);
  }

  #report(text: string, cause?: unknown): void {
    this.#onError(new Error(cause === undefined ? text : `${text} (${causeOf(cause)})`, { cause }));
  }
}
