/** A report in pages, each read by statements whose cost is bounded however large the table is. */

import type { Position, Range, StoredRow } from './database.js';
import type { Day } from './day.js';
import { addCounts, type UsageCounts } from './entry.js';
import type { PendingRow } from './pending.js';

/** One line of a usage report: counts of a tenant and a model on a UTC day. */
export interface UsageRow extends Readonly<UsageCounts> {
  readonly tenant: string;
  readonly model: string;
  readonly day: Day;
}

export interface UsageFilter {
  /** Only these; an empty list means nobody, undefined everybody. */
  readonly tenants?: readonly string[] | undefined;
  /** First and last day, both included. */
  readonly from?: Day | undefined;
  readonly to?: Day | undefined;
}

/** Where a report reads. Rows move from what is pending to what is stored while it runs. */
export interface Source {
  /** @throws what SQLite throws. */
  stored(range: Range): StoredRow[];
  pending(): Iterable<PendingRow>;
  /** Changes whenever pending rows have been stored. */
  writes(): number;
}

/** Rows of a page before keys are added up: a few milliseconds of the event loop. */
const PAGE_ROWS = 250;
/** A report of very many tenants reads at least so many rows of one at a time. */
const MIN_ROWS = 10;

/**
 * Rows by day, tenant and model. A request that has ended before the report began is in it once, whether it is on disk
 * or not; of later ones, those whose place the report has not passed.
 */
export function* reportPages(source: Source, filter: UsageFilter): Generator<UsageRow[]> {
  const { from = '', to = '~', tenants } = filter;
  const wanted = tenants && new Set(tenants);
  let after: Position = { day: from, tenant: '', model: '', key: '' };
  let cursors: Cursor[] = [];
  let writes: number | undefined;
  /** Its keys may go on in the next page. */
  let last: MutableRow[] = [];
  for (let more = true; more;) {
    // What was read ahead does not hold what has been stored since.
    if (writes !== source.writes()) cursors = cursorsOf(source, wanted, after, to);
    writes = source.writes();
    const stored = takeFrom(cursors);
    const end = stored.at(-1);
    more = stored.length === PAGE_ROWS;
    const fresh = [...source.pending()]
      .filter((row) => row.day <= to && (wanted?.has(row.tenant) ?? true))
      .filter((row) => isBefore(after, row) && !(more && isBefore(end!, row)))
      .map(({ counts, ...position }) => ({ ...position, ...counts }));
    const rows = fresh.length === 0 ? stored : [...stored, ...fresh].sort(comparePositions);
    const page = addKeysUp(last, rows);
    last = more ? page.splice(-1) : [];
    if (end) after = end;
    yield page;
  }
}

type MutableRow = UsageRow & UsageCounts;

/** Reads the rows of one tenant, or of all, a few at a time. */
class Cursor {
  #rows: StoredRow[] = [];
  #next = 0;
  #whole = false;
  #after: Position;

  constructor(
    private readonly source: Source,
    private readonly range: Range,
  ) {
    this.#after = range.after;
  }

  get head(): StoredRow | undefined {
    if (this.#next === this.#rows.length && !this.#whole) this.#read();
    return this.#rows[this.#next];
  }

  advance(): void {
    this.#next += 1;
  }

  #read(): void {
    this.#rows = this.source.stored({ ...this.range, after: this.#after });
    this.#next = 0;
    this.#whole = this.#rows.length < this.range.limit;
    this.#after = this.#rows.at(-1) ?? this.#after;
  }
}

function cursorsOf(
  source: Source,
  tenants: ReadonlySet<string> | undefined,
  after: Position,
  to: Day,
): Cursor[] {
  if (!tenants) return [new Cursor(source, { after, to, limit: PAGE_ROWS })];
  const limit = Math.max(MIN_ROWS, Math.ceil(PAGE_ROWS / tenants.size));
  return [...tenants]
    .map((tenant) => new Cursor(source, { tenant, after: positionOf(tenant, after), to, limit }))
    .sort(compareHeads);
}

/** Where the rows of `tenant` begin that come after a row of any tenant. */
function positionOf(tenant: string, after: Position): Position {
  const order = compareTexts(tenant, after.tenant);
  if (order === 0) return after;
  // All its rows of that day come later, or all have been: a text that goes on sorts after the day and before the next.
  return { day: order > 0 ? after.day : `${after.day}~`, tenant, model: '', key: '' };
}

/** The first rows of all cursors, which are in the order of their heads. */
function takeFrom(cursors: Cursor[]): StoredRow[] {
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

/** Cursors that have come to their end are last. */
function compareHeads({ head: a }: Cursor, { head: b }: Cursor): number {
  return a && b ? comparePositions(a, b) : Number(!a) - Number(!b);
}

function addKeysUp(begun: readonly MutableRow[], rows: readonly StoredRow[]): MutableRow[] {
  const page = [...begun];
  for (const { key: _, ...row } of rows) {
    const same = page.at(-1);
    if (same?.model === row.model && same.tenant === row.tenant && same.day === row.day) addCounts(same, row);
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

/** SQLite's order is that of UTF-8, which JavaScript's differs from where there are surrogate pairs. */
function compareTexts(a: string, b: string): number {
  if (a === b) return 0;
  if (SURROGATE.test(a) || SURROGATE.test(b)) return Buffer.compare(Buffer.from(a), Buffer.from(b));
  return a < b ? -1 : 1;
}
