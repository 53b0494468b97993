/**
 * Usage per tenant, key, model and day, in SQLite. `record` only adds up in memory; every `flushMs` one transaction
 * writes a batch, so a killed process loses less than a second of usage and no request waits for the disk. Nothing here
 * throws into a request: a full or locked disk is reported once, and the counts stay in memory.
 */

import { describeCause, errorCode, UsageTable, type Range } from './database.js';
import { toDay, type Day } from './day.js';
import { storedName, toCounts, type UsageEntry } from './entry.js';
import { reportPages, type UsageFilter, type UsageRow } from './pages.js';
import { Pending } from './pending.js';
import { addSpending, noSpending, SpendingCache, type AccountKind, type SpentNow } from './spending.js';

export interface UsageOptions {
  /** Path of the SQLite file, such as `data/usage.sqlite`; it and its folder are created if missing. */
  readonly file: string;
  /** Max time before a counted request is written, milliseconds. Default: 500. */
  readonly flushMs?: number;
  /** Unix time, milliseconds. */
  readonly now?: () => number;
  /** Receives each reason why the file cannot be written or read, once. */
  readonly onError: (error: Error) => void;
  /** Called when the file can be written again. */
  readonly onRecovery?: (message: string) => void;
}

/** Usage that is not on disk. */
export interface UsageBacklog {
  /** Number of rows waiting to be written. */
  readonly rows: number;
  /** Number of requests since the start that were not counted, because the backlog was full. */
  readonly uncounted: number;
}

export interface UsageStore {
  /** Counts one request that has ended. Cheap; never throws. */
  record(entry: UsageEntry): void;
  /**
   * Rows by day, tenant and model, including those not on disk yet, in pages that take a few milliseconds each. No
   * statement or transaction stays open between two pages.
   *
   * @throws when the file cannot be read.
   */
  pages(filter?: UsageFilter): Generator<UsageRow[]>;
  /**
   * The spending of a tenant or a key today and this month (UTC), including the latest request of this process; that of
   * another process follows after `flushMs`. Only the first call for an account reads the file. If that fails, the
   * error is reported and only the usage in memory counts.
   */
  spent(kind: AccountKind, name: string): SpentNow;
  readonly backlog: UsageBacklog;
  /** Writes the remaining rows and closes the file; a second call does nothing. */
  close(): void;
}

const FLUSH_MS = 500;
/** Failed writes are retried with a delay that doubles up to this. */
const MAX_RETRY_MS = 30_000;
/** Max rows held while nothing can be written, about 20 MB. */
const MAX_PENDING = 20_000;
/** Rows written in one turn of the event loop. */
const FLUSH_ROWS = 100;
/** Max accounts whose spending is cached. */
const MAX_ACCOUNTS = 10_000;

/**
 * Opens or creates the usage file.
 *
 * @throws UsageFileError naming the file, when it is damaged or unreadable, or was written by another program or a newer
 *   version.
 */
export function openUsageStore(options: UsageOptions): UsageStore {
  return new SqliteUsageStore(options);
}

const WRITE = 'Usage cannot be written and is kept in memory';
const READ = 'Spending cannot be read, so a budget may be exceeded';
const REPORT = 'The usage report failed';

class SqliteUsageStore implements UsageStore {
  readonly #file: string;
  readonly #flushMs: number;
  readonly #now: () => number;
  readonly #onError: (error: Error) => void;
  readonly #onRecovery: (message: string) => void;
  readonly #pending = new Pending(MAX_PENDING);
  readonly #spending = new SpendingCache(MAX_ACCOUNTS);
  /** Undefined while the file that replaced the previous one cannot be opened. */
  #table: UsageTable | undefined;
  #timer: NodeJS.Timeout | undefined;
  #writes = 0;
  #failures = 0;
  /** Ongoing failures that were reported → their cause. */
  readonly #reported = new Map<string, string>();
  #uncounted = 0;
  /** Those of `#uncounted` since the file was last written. */
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
      return this.#report('A request that ended after the usage file was closed is not counted');
    const row = {
      tenant: storedName(entry.tenant),
      key: storedName(entry.key),
      model: storedName(entry.model),
      day: this.#today(),
      counts: toCounts(entry),
    };
    this.#spending.add(row);
    if (!this.#pending.add(row)) this.#countDropped();
    this.#scheduleFlush();
  }

  *pages(filter: UsageFilter = {}): Generator<UsageRow[]> {
    this.#flush();
    const { from, to, tenants } = filter;
    const source = {
      stored: (range: Range) => this.#openTable().select(range),
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
    this.#refreshIfChanged();
    return this.#spending.get(kind, account, today) ?? this.#load(kind, account, today);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#try('The usage file is busy', () => this.#table?.useLongBusyTimeout());
    while (this.#flush() && this.#pending.size > 0);
    this.#try('The usage file was not closed properly', () => this.#table?.close());
  }

  #today(): Day {
    return toDay(this.#now());
  }

  #openTable(): UsageTable {
    if (!this.#table) throw new Error('The usage file is not open');
    return this.#table;
  }

  #scheduleFlush(): void {
    if (this.#timer !== undefined || this.#closed) return;
    const delay = Math.min(this.#flushMs * 2 ** this.#failures, Math.max(MAX_RETRY_MS, this.#flushMs));
    this.#timer = setTimeout(() => this.#flush(), delay).unref();
  }

  /** Writes the oldest rows and schedules the others; returns false when writing failed. */
  #flush(): boolean {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#pending.size === 0) return true;
    const rows = this.#pending.oldest(FLUSH_ROWS);
    try {
      this.#reopenIfReplaced();
      this.#openTable().add(rows);
    } catch (error) {
      this.#failures = Math.min(this.#failures + 1, 20);
      this.#reportFlush(error);
      this.#scheduleFlush();
      return false;
    }
    void this.#table?.checkpointIfDue();
    this.#pending.remove(rows);
    this.#writes += 1;
    this.#failures = 0;
    if (this.#pending.size > 0 && !this.#closed) this.#timer = setTimeout(() => this.#flush(), 1).unref();
    else this.#reportRecovery();
    return true;
  }

  /** Counts written to a file that was removed or replaced would be lost. */
  #reopenIfReplaced(): void {
    if (this.#table?.inPlace()) return;
    if (this.#table) {
      this.#report(
        `The usage file ${this.#file} was removed or replaced; the file now at that path is used instead`,
      );
      const former = this.#table;
      this.#table = undefined;
      // Closed before the other is opened, because both would use the same log.
      this.#try('The former usage file was not closed properly', () => former.close());
    }
    this.#table = new UsageTable(this.#file, { serving: !this.#closed });
    this.#spending.clear();
  }

  #reportRecovery(): void {
    const uncounted = this.#uncountedNow === 0 ? '' : `; ${this.#uncountedNow} requests were not counted`;
    this.#uncountedNow = 0;
    if (this.#reported.delete(WRITE)) this.#onRecovery(`Usage is written again${uncounted}`);
  }

  #countDropped(): void {
    this.#uncounted += 1;
    this.#uncountedNow += 1;
    if (this.#uncountedNow > 1) return;
    this.#report(
      `${this.#pending.size} rows of usage wait to be written; requests that need a further row are not counted`,
    );
  }

  #reportFlush(error: unknown): void {
    // Two processes on one file collide occasionally; the next attempt succeeds.
    const collided = this.#failures === 1 && errorCode(error) === 'SQLITE_BUSY';
    if (this.#closed) this.#report(`Usage cannot be written: ${this.#pending.size} rows are lost`, error);
    else if (!collided) this.#reportOnce(WRITE, error);
  }

  /** Clears the cache when another process wrote or the file is readable again; checks once every `flushMs` at most. */
  #refreshIfChanged(): void {
    const now = this.#now();
    if (Math.abs(now - this.#versionRead) < this.#flushMs) return;
    this.#versionRead = now;
    const version = this.#read((table) => table.version());
    if (version === undefined) return;
    if (version !== this.#version || !this.#readable) this.#spending.clear();
    this.#version = version;
    this.#readable = true;
  }

  /** While the file cannot be read, further requests do not try it, and only the usage in memory counts. */
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
      return read(this.#openTable());
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

  /** Reports a failure when it begins and when its cause changes. */
  #reportOnce(failure: string, error: unknown): void {
    const cause = describeCause(error);
    if (this.#reported.get(failure) === cause) return;
    this.#reported.set(failure, cause);
    this.#report(failure, error);
  }

  #report(text: string, cause?: unknown): void {
    this.#onError(new Error(cause === undefined ? text : `${text} (${describeCause(cause)})`, { cause }));
  }
}
