/** Budgets: how much a tenant or a key may spend in a UTC day or month. Pure. */

import { z } from 'zod';
import { LMServError } from '../../errors.js';
import { secondsLeft, type Period } from './day.js';
import { formatNano, toNano } from './money.js';
import type { SpentNow } from './spending.js';

/** An amount of the currency in a file, from 0 to `max`. What is finer than a billionth would count as nothing. */
export const amountUpTo = (max: number) => {
  const rule = `must be a number from 0 to ${max} with at most nine decimals`;
  return z
    .number(rule)
    .min(0, rule)
    .max(max, rule)
    .refine((value) => Number(value.toFixed(9)) === value, rule);
};

const amount = amountUpTo(1e18);

const TOKENS_RULE = `must be a whole number from 0 to ${Number.MAX_SAFE_INTEGER}`;
const tokens = z.int(TOKENS_RULE).nonnegative(TOKENS_RULE);

/**
 * A budget as configuration and key files write it: `day` and `month` in the currency of the prices, the others in
 * tokens (prompt and completion). What is absent is unlimited; 0 allows nothing.
 */
export const budgetSchema = z.strictObject({
  day: amount.optional(),
  month: amount.optional(),
  dayTokens: tokens.optional(),
  monthTokens: tokens.optional(),
});

export type BudgetFields = z.infer<typeof budgetSchema>;

interface Limits {
  readonly costNano?: bigint | undefined;
  readonly tokens?: bigint | undefined;
}

/** A budget as it is checked. */
export type Budget = Readonly<Record<Period, Limits>>;

export interface BudgetExceeded {
  readonly period: Period;
  readonly unit: keyof Limits;
  /** In nanos of the currency, or in tokens. */
  readonly limit: bigint;
  /** Seconds until the period ends and the budget is whole again. */
  readonly retryAfterSecs: number;
}

/** Turns a budget of a file into one to check. */
export function toBudget(fields: BudgetFields): Budget {
  const nano = (value: number | undefined) => (value === undefined ? value : toNano(value));
  const whole = (value: number | undefined) => (value === undefined ? value : BigInt(value));
  return {
    day: { costNano: nano(fields.day), tokens: whole(fields.dayTokens) },
    month: { costNano: nano(fields.month), tokens: whole(fields.monthTokens) },
  };
}

/**
 * The limit that is used up, or undefined while there is something left. A budget is used up when spending has
 * reached it; requests that run at that moment finish, so it may be overrun by what they cost. When both are used up
 * the month's is told, which ends later.
 *
 * @param now Unix time, milliseconds.
 */
export function checkBudget(budget: Budget, spent: SpentNow, now: number): BudgetExceeded | undefined {
  for (const period of ['month', 'day'] as const) {
    for (const unit of ['costNano', 'tokens'] as const) {
      const limit = budget[period][unit];
      if (limit === undefined || spent[period][unit] < limit) continue;
      return { period, unit, limit, retryAfterSecs: secondsLeft(period, now) };
    }
  }
  return undefined;
}

/** The error a client gets for it: 429 `budget_exceeded`, with the time until the period ends as Retry-After. */
export function budgetError({ period, unit, limit, retryAfterSecs }: BudgetExceeded): LMServError {
  const size = unit === 'tokens' ? `${limit} tokens` : formatNano(limit);
  return new LMServError('budget_exceeded', `The budget of ${size} for this ${period} is used up`, {
    retryAfter: retryAfterSecs,
  });
}
