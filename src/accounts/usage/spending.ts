/** The spending of accounts today and this month, kept in memory so that checking a budget needs no query. */

import { monthStart, type Day } from './day.js';
import type { UsageCounts } from './entry.js';

/** A budget applies to a tenant, or to a key across all tenants. */
export type AccountKind = 'tenant' | 'key';

export interface Spent {
  costNano: bigint;
  /** Prompt and completion tokens. */
  tokens: bigint;
}

/** The spending of the current UTC day and month. */
export interface SpentNow {
  readonly day: Spent;
  readonly month: Spent;
}

export const noSpending = (): SpentNow => ({
  day: { costNano: 0n, tokens: 0n },
  month: { costNano: 0n, tokens: 0n },
});

/** Adds the counts of `day` to the sums of today and of this month that they belong to. */
export function addSpending(spent: SpentNow, counts: UsageCounts, day: Day, today: Day): void {
  const add = (sum: Spent) => {
    sum.costNano += counts.costNano;
    sum.tokens += counts.promptTokens + counts.completionTokens;
  };
  if (day === today) add(spent.day);
  if (monthStart(day) === monthStart(today)) add(spent.month);
}

/** Holds the accounts that were looked up today. */
export class SpendingCache {
  readonly #limit: number;
  #today: Day = '';
  #sums = new Map<string, SpentNow>();

  /** @param limit max number of accounts; the oldest is dropped and costs one query when it is needed again. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  get(kind: AccountKind, name: string, today: Day): SpentNow | undefined {
    this.#startDay(today);
    return this.#sums.get(accountId(kind, name));
  }

  set(kind: AccountKind, name: string, today: Day, spent: SpentNow): void {
    this.#startDay(today);
    for (const oldest of this.#sums.keys()) {
      if (this.#sums.size < this.#limit) break;
      this.#sums.delete(oldest);
    }
    this.#sums.set(accountId(kind, name), spent);
  }

  /** Adds a row to the cached sums of its tenant and its key. */
  add(row: { tenant: string; key: string; day: Day; counts: UsageCounts }): void {
    for (const spent of [this.get('tenant', row.tenant, row.day), this.get('key', row.key, row.day)]) {
      if (spent !== undefined) addSpending(spent, row.counts, row.day, row.day);
    }
  }

  clear(): void {
    this.#sums.clear();
  }

  #startDay(today: Day): void {
    if (today !== this.#today) this.clear();
    this.#today = today;
  }
}

const accountId = (kind: AccountKind, name: string): string => `${kind} ${name}`;
