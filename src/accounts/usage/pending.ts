/** Usage that is counted but not yet on disk. Rows are added up, so it is bounded by the number of callers, not of requests. */

import type { Day } from './day.js';
import { addCounts, type UsageCounts } from './entry.js';

/** One row of the table, or an increment of it. */
export interface PendingRow {
  readonly tenant: string;
  readonly key: string;
  readonly model: string;
  readonly day: Day;
  readonly counts: UsageCounts;
}

export class Pending {
  readonly #limit: number;
  readonly #rows = new Map<string, PendingRow>();

  /** @param limit max number of rows, for when the disk accepts none for a long time. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  get size(): number {
    return this.#rows.size;
  }

  rows(): IterableIterator<PendingRow> {
    return this.#rows.values();
  }

  /** The rows that have waited longest. */
  oldest(limit: number): PendingRow[] {
    return [...this.#rows.values()].slice(0, limit);
  }

  /** Adds up `row`, which it may keep; returns false when it would exceed the limit and is dropped. */
  add(row: PendingRow): boolean {
    const id = rowId(row);
    const existing = this.#rows.get(id);
    if (existing !== undefined) addCounts(existing.counts, row.counts);
    else if (this.#rows.size < this.#limit) this.#rows.set(id, row);
    else return false;
    return true;
  }

  remove(rows: readonly PendingRow[]): void {
    for (const row of rows) this.#rows.delete(rowId(row));
  }
}

const rowId = ({ tenant, key, model, day }: PendingRow): string => JSON.stringify([tenant, key, model, day]);
