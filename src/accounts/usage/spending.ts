/** Sums of what an account spent today and this month, kept in memory so that checking a budget costs no query. */

import { monthStart, type Day } from './day.js';
import type { UsageCounts } from './entry.js';

/** Budgets are set for a tenant, or for a key whatever tenants it spends for. */
export type AccountKind = 'tenant' | 'key';

export interface Spent {
  costNano: bigint;
  /** Prompt and completion tokens. */
  tokens: bigint;
}

/** What was spent in the current UTC day and month. */
export interface SpentNow {
  readonly day: Spent;
  readonly month: Spent;
}

export const noSpending = (): SpentNow => ({
  day: { costNano: 0n, tokens: 0n },
  month: { costNano: 0n, tokens: 0n },
});

/** Adds what was counted on `day`, if it belongs to the day or month of `today`. */
export function addSpending(spent: SpentNow, counts: UsageCounts, day: Day, today: Day): void {
  for (const sum of [
    ...(day === today ? [spent.day] : []),
    ...(sameMonth(day, today) ? [spent.month] : []),
  ]) {
    sum.costNano += counts.costNano;
    sum.tokens += counts.promptTokens + counts.completionTokens;
  }
}

const sameMonth = (a: Day, b: Day): boolean => monthStart(a) === monthStart(b);

const idOf = (kind: AccountKind, name: string): string => `${kind} ${name}`;

/** Only accounts that were asked for are held, and only for the day they were asked on. */
export class SpendingCache {
  #today: Day = '';
  #sums = new Map<string, SpentNow>();

  /** @param limit most accounts held; the oldest goes, and costs one query when it is asked for again. */
  constructor(private readonly limit: number) {}

  get(kind: AccountKind, name: string, today: Day): SpentNow | undefined {
    this.#turnTo(today);
    return this.#sums.get(idOf(kind, name));
  }

  set(kind: AccountKind, name: string, today: Day, spent: SpentNow): void {
    this.#turnTo(today);
    for (const oldest of this.#sums.keys()) {
      if (this.#sums.size < this.limit) break;
      this.#sums.delete(oldest);
    }
    this.#sums.set(idOf(kind, name), spent);
  }

  /** Keeps the sums of a tenant and a key current. */
  add(row: { tenant: string; key: string; day: Day; counts: UsageCounts }): void {
    for (const spent of [this.get('tenant', row.tenant, row.day), this.get('key', row.key, row.day)]) {
      if (spent !== undefined) addSpending(spent, row.counts, row.day, row.day);
    }
  }

  clear(): void {
    this.#sums.clear();
  }

  #turnTo(today: Day): void {
    if (today !== this.#today) this.clear();
    this.#today = today;
  }
}
