/** Usage that is counted and not yet on disk. Added up as it comes, so it grows with who asks, not with how often. */

import type { Day } from './day.js';
import { addCounts, type UsageCounts } from './entry.js';

/** One row of the table, or an increment of one. */
export interface PendingRow {
  readonly tenant: string;
  readonly key: string;
  readonly model: string;
  readonly day: Day;
  readonly counts: UsageCounts;
}

export class Pending {
  readonly #rows = new Map<string, PendingRow>();

  /** @param limit the most rows held, for when the disk takes none for long. */
  constructor(private readonly limit: number) {}

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

  /** Takes `row` over and adds it up; false when it would be one row more than the limit and is dropped. */
  add(row: PendingRow): boolean {
    const id = idOf(row);
    const known = this.#rows.get(id);
    if (known !== undefined) addCounts(known.counts, row.counts);
    else if (this.#rows.size < this.limit) this.#rows.set(id, row);
    else return false;
    return true;
  }

  remove(rows: readonly PendingRow[]): void {
    for (const row of rows) this.#rows.delete(idOf(row));
  }
}

const idOf = ({ tenant, key, model, day }: PendingRow): string => JSON.stringify([tenant, key, model, day]);
