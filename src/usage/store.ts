/**
 * Usage per tenant, key, model and day, in SQLite. `record` only adds up in memory; a batch goes to disk in one
 * transaction every `flushMs`, so a killed process loses less than the last second and a request never waits for the
 * disk. Nothing here throws into a request: a disk that is full or locked is reported, and what was counted is kept.
 */

import { causeOf, UsageTable, type UsageFilter, type UsageRow } from './database.js';
import { dayOf, type Day } from './day.js';
import { addCounts, countsOf, noCounts, storedName, type UsageCounts, type UsageEntry } from './entry.js';
import { Pending } from './pending.js';
import { addSpending, noSpending, SpendingCache, type AccountKind, type SpentNow } from './spending.js';

export { UsageFileError, type UsageFilter, type UsageRow } from './database.js';
export type { Outcome, UsageEntry } from './entry.js';
export type { AccountKind, Spent, SpentNow } from './spending.js';

export interface UsageOptions {
  /** Path of the SQLite file, such as `data/usage.sqlite`; it and its folder are made when missing. */
  readonly file: string;
  /** Longest time a counted request stays in memory only, milliseconds. */
  readonly flushMs?: number;
  /** Unix time, milliseconds. */
  readonly now?: () => number;
  /** Told of every failed write or read; the server goes on. */
  readonly onError: (error: Error) => void;
}

export interface UsageStore {
  /** Counts one request that has ended. Cheap; never throws. */
  record(entry: UsageEntry): void;
  /**
   * Rows by day, tenant and model; what is not on disk yet is in them too.
   *
   * @throws when the file cannot be read.
   */
  query(filter?: UsageFilter): UsageRow[];
  /**
   * What a tenant or a key spent today and this month (UTC), this process's requests up to the last one. Another
   * process's show after `flushMs`. From memory but for an account's first time; when the file cannot be read then,
   * it is reported and only what is in memory counts.
   */
  spent(kind: AccountKind, name: string): SpentNow;
  /** Writes what is left and closes the file; a second call does nothing. */
  close(): void;
}

const FLUSH_MS = 500;
/** While writing fails it is tried again after twice as long each time, up to this. */
const MAX_RETRY_MS = 30_000;
/** Rows held while the disk takes none, about 10 MB. */
const MAX_PENDING = 20_000;
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

class SqliteUsageStore implements UsageStore {
  readonly #table: UsageTable;
  readonly #flushMs: number;
  readonly #now: () => number;
  readonly #onError: (error: Error) => void;
  readonly #pending = new Pending(MAX_PENDING);
  readonly #spending = new SpendingCache(MAX_ACCOUNTS);
  #timer: NodeJS.Timeout | undefined;
  #failures = 0;
  /** Requests that found no room while the disk took none. */
  #dropped = 0;
  #version = 0;
  #versionRead = -Infinity;
  #closed = false;

  constructor({ file, flushMs = FLUSH_MS, now = Date.now, onError }: UsageOptions) {
    this.#table = new UsageTable(file);
    this.#flushMs = flushMs;
    this.#now = now;
    this.#onError = onError;
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
    if (!this.#pending.add(row)) this.#dropped += 1;
    this.#arm();
  }

  query(filter: UsageFilter = {}): UsageRow[] {
    this.#flush();
    const rows = new Map<string, UsageRow & UsageCounts>();
    const stored = filter.tenants && { ...filter, tenants: filter.tenants.map(storedName) };
    for (const row of this.#table.select(stored ?? filter)) rows.set(rowId(row), row);
    // What could not be written just now counts all the same.
    for (const row of this.#pending.rows()) if (matches(row, stored ?? filter)) mergeRow(rows, row);
    return [...rows.values()].sort(byDayTenantModel);
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
    clearTimeout(this.#timer);
    this.#try('The usage file is busy', () => this.#table.bePatient());
    this.#flush();
    this.#try('The usage file was not closed in order', () => this.#table.close());
  }

  #today(): Day {
    return dayOf(this.#now());
  }

  #arm(): void {
    if (this.#timer !== undefined || this.#closed) return;
    const delay = Math.min(this.#flushMs * 2 ** this.#failures, Math.max(MAX_RETRY_MS, this.#flushMs));
    this.#timer = setTimeout(() => this.#flush(), delay).unref();
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#pending.size === 0) return;
    try {
      this.#table.add(this.#pending.rows());
      this.#pending.clear();
      this.#failures = 0;
    } catch (error) {
      this.#failures = Math.min(this.#failures + 1, 20);
      this.#reportFlush(error);
      this.#arm();
    }
  }

  #reportFlush(error: unknown): void {
    const kept = this.#closed ? 'are lost' : 'are kept and tried again';
    const dropped = this.#dropped > 0 ? `, ${this.#dropped} requests found no room and are not counted` : '';
    this.#dropped = 0;
    this.#report(`Usage cannot be written: ${this.#pending.size} rows ${kept}${dropped}`, error);
  }

  /** Forgets the sums when another process wrote; asked at most once every `flushMs`. */
  #noticeOthers(): void {
    const now = this.#now();
    if (Math.abs(now - this.#versionRead) < this.#flushMs) return;
    this.#versionRead = now;
    this.#try('Usage of other processes cannot be read', () => {
      const version = this.#table.version();
      if (version !== this.#version) this.#spending.clear();
      this.#version = version;
    });
  }

  #load(kind: AccountKind, name: string, today: Day): SpentNow {
    let spent = noSpending();
    const read = this.#try('Spending cannot be read, so a budget may be overrun', () => {
      spent = this.#table.spent(kind, name, today);
    });
    for (const row of this.#pending.rows()) {
      if (row[kind] === name) addSpending(spent, row.counts, row.day, today);
    }
    if (read) this.#spending.set(kind, name, today, spent);
    return spent;
  }

  #try(failure: string, action: () => void): boolean {
    try {
      action();
      return true;
    } catch (error) {
      this.#report(failure, error);
      return false;
    }
  }

  #report(text: string, cause?: unknown): void {
    this.#onError(new Error(cause === undefined ? text : `${text} (${causeOf(cause)})`, { cause }));
  }
}

type Named = Pick<UsageRow, 'tenant' | 'model' | 'day'>;

const rowId = ({ tenant, model, day }: Named): string => JSON.stringify([tenant, model, day]);

function matches({ tenant, day }: Named, { tenants, from = '', to = '~' }: UsageFilter): boolean {
  return (tenants === undefined || tenants.includes(tenant)) && day >= from && day <= to;
}

function mergeRow(rows: Map<string, UsageRow & UsageCounts>, more: Named & { counts: UsageCounts }): void {
  const { tenant, model, day, counts } = more;
  const row = rows.get(rowId(more)) ?? { tenant, model, day, ...noCounts() };
  rows.set(rowId(more), row);
  addCounts(row, counts);
}

const compare = (a: string, b: string): number => (a < b ? -1 : Number(a > b));

function byDayTenantModel(a: Named, b: Named): number {
  return compare(a.day, b.day) || compare(a.tenant, b.tenant) || compare(a.model, b.model);
}
