/** Reads a report in pages, with statements whose cost does not depend on the size of the table. */

import type { Position, Range, StoredRow } from './database.js';
import type { Day } from './day.js';
import { addCounts, type UsageCounts } from './entry.js';
import type { PendingRow } from './pending.js';

/** One line of a usage report: the counts of a tenant and a model on a UTC day. */
export interface UsageRow extends Readonly<UsageCounts> {
  readonly tenant: string;
  readonly model: string;
  readonly day: Day;
}

export interface UsageFilter {
  /** Only these tenants; undefined means all, an empty list none. */
  readonly tenants?: readonly string[] | undefined;
  /** First and last day, both included. */
  readonly from?: Day | undefined;
  readonly to?: Day | undefined;
}

/** The rows that a report reads. Pending rows are stored while it runs. */
export interface Source {
  /** @throws SQLite's errors. */
  stored(range: Range): StoredRow[];
  pending(): Iterable<PendingRow>;
  /** A number that changes whenever pending rows have been stored. */
  writes(): number;
}

/** Rows per page, before the rows of several keys are merged: a few milliseconds of the event loop. */
const PAGE_ROWS = 250;
/** Min rows read at a time for one tenant, in a report of many tenants. */
const MIN_ROWS = 10;

/**
 * Rows by day, tenant and model. A request that ended before the report began is in it exactly once, on disk or not;
 * a later one only if the report has not passed its position.
 */
export function* reportPages(source: Source, filter: UsageFilter): Generator<UsageRow[]> {
  const { from = '', to = '~', tenants } = filter;
  const requested = tenants && new Set(tenants);
  let after: Position = { day: from, tenant: '', model: '', key: '' };
  let cursors: Cursor[] = [];
  let writes: number | undefined;
  /** The last row, whose other keys may be in the next page. */
  let last: MutableRow[] = [];
  for (let more = true; more;) {
    // Rows that were read ahead lack what has been stored since.
    if (writes !== source.writes()) cursors = openCursors(source, requested, after, to);
    writes = source.writes();
    const stored = takeRows(cursors);
    const end = stored.at(-1);
    more = stored.length === PAGE_ROWS;
    const pending = [...source.pending()]
      .filter((row) => row.day <= to && (requested?.has(row.tenant) ?? true))
      .filter((row) => isBefore(after, row) && !(more && isBefore(end!, row)))
      .map(({ counts, ...position }) => ({ ...position, ...counts }));
    const rows = pending.length === 0 ? stored : [...stored, ...pending].sort(comparePositions);
    const page = mergeKeys(last, rows);
    last = more ? page.splice(-1) : [];
    if (end) after = end;
    yield page;
  }
}

type MutableRow = UsageRow & UsageCounts;

/** Reads the rows of one tenant, or of all, a few at a time. */
class Cursor {
  readonly #source: Source;
  readonly #range: Range;
  #rows: StoredRow[] = [];
  #next = 0;
  #complete = false;
  #after: Position;

  constructor(source: Source, range: Range) {
    this.#source = source;
    this.#range = range;
    this.#after = range.after;
  }

  get head(): StoredRow | undefined {
    if (this.#next === this.#rows.length && !this.#complete) this.#read();
    return this.#rows[this.#next];
  }

  advance(): void {
    this.#next += 1;
  }

  #read(): void {
    this.#rows = this.#source.stored({ ...this.#range, after: this.#after });
    this.#next = 0;
    this.#complete = this.#rows.length < this.#range.limit;
    this.#after = this.#rows.at(-1) ?? this.#after;
  }
}

function openCursors(
  source: Source,
  tenants: ReadonlySet<string> | undefined,
  after: Position,
  to: Day,
): Cursor[] {
  if (!tenants) return [new Cursor(source, { after, to, limit: PAGE_ROWS })];
  const limit = Math.max(MIN_ROWS, Math.ceil(PAGE_ROWS / tenants.size));
  return [...tenants]
    .map((tenant) => new Cursor(source, { tenant, after: startOf(tenant, after), to, limit }))
    .sort(compareHeads);
}

/** The position before the first row of `tenant` that follows `after`. */
function startOf(tenant: string, after: Position): Position {
  const order = compareTexts(tenant, after.tenant);
  if (order === 0) return after;
  // Either all or none of the tenant's rows of that day follow: `day~` sorts after the day and before the next one.
  return { day: order > 0 ? after.day : `${after.day}~`, tenant, model: '', key: '' };
}

/** Takes the first rows of all cursors, which are sorted by their heads. */
function takeRows(cursors: Cursor[]): StoredRow[] {
  const taken: StoredRow[] = [];
  while (taken.length < PAGE_ROWS) {
    const first = cursors[0];
    if (!first?.head) break;
    taken.push(first.head);
    first.advance();
    // The next row is often of the same tenant.
    if (cursors.length > 1 && compareHeads(first, cursors[1]!) > 0) moveBack(cursors);
  }
  return taken;
}

function moveBack(cursors: Cursor[]): void {
  const [first] = cursors.splice(0, 1) as [Cursor];
  let [low, high] = [0, cursors.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareHeads(cursors[middle]!, first) < 0) low = middle + 1;
    else high = middle;
  }
  cursors.splice(low, 0, first);
}

/** Sorts cursors without further rows last. */
function compareHeads({ head: a }: Cursor, { head: b }: Cursor): number {
  return a && b ? comparePositions(a, b) : Number(!a) - Number(!b);
}

/** Adds up the rows of different keys with the same day, tenant and model. */
function mergeKeys(previous: readonly MutableRow[], rows: readonly StoredRow[]): MutableRow[] {
  const page = [...previous];
  for (const { key: _, ...row } of rows) {
    const last = page.at(-1);
    if (last?.model === row.model && last.tenant === row.tenant && last.day === row.day) addCounts(last, row);
    else page.push(row);
  }
  return page;
}

const isBefore = (a: Position, b: Position): boolean => comparePositions(a, b) < 0;

function comparePositions(a: Position, b: Position): number {
  return (
    compareTexts(a.day, b.day) ||
    compareTexts(a.tenant, b.tenant) ||
    compareTexts(a.model, b.model) ||
    compareTexts(a.key, b.key)
  );
}

const SURROGATE = /[\ud800-\udfff]/;

/** SQLite sorts by UTF-8 bytes, which differs from JavaScript's order for surrogate pairs. */
function compareTexts(a: string, b: string): number {
  if (a === b) return 0;
  if (SURROGATE.test(a) || SURROGATE.test(b)) return Buffer.compare(Buffer.from(a), Buffer.from(b));
  return a < b ? -1 : 1;
}
