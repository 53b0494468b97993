/** Budgets: how much a tenant or a key may spend in a UTC day or month. Pure. */

import { z } from 'zod';
import { LMServError } from '../../errors.js';
import { secondsLeft, type Period } from './day.js';
import { formatNano, toNano } from './money.js';
import type { SpentNow } from './spending.js';

/** Schema of an amount of money from 0 to `max`. At most nine decimals, because the unit of account is a billionth. */
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
 * A budget in a configuration or key file: `day` and `month` in the currency of the prices, the others in tokens
 * (prompt and completion). An absent field means no limit; 0 allows nothing.
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

/** A budget in the units of the usage table. */
export type Budget = Readonly<Record<Period, Limits>>;

export interface BudgetExceeded {
  readonly period: Period;
  readonly unit: keyof Limits;
  /** Nanos of the currency, or tokens. */
  readonly limit: bigint;
  /** Seconds until the period ends and the budget is available again. */
  readonly retryAfterSecs: number;
}

/** Converts a budget from a file into the units of the usage table. */
export function toBudget(fields: BudgetFields): Budget {
  const nano = (value: number | undefined) => (value === undefined ? value : toNano(value));
  const whole = (value: number | undefined) => (value === undefined ? value : BigInt(value));
  return {
    day: { costNano: nano(fields.day), tokens: whole(fields.dayTokens) },
    month: { costNano: nano(fields.month), tokens: whole(fields.monthTokens) },
  };
}

/**
 * Returns the limit that is used up, or undefined if none is. A budget is used up when spending has reached it. Requests
 * running at that moment finish, so a budget may be exceeded by their cost. If both periods are used up, the month is
 * reported, because it ends later.
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

/** The client's error: 429 `budget_exceeded`, with the time until the period ends as Retry-After. */
export function budgetError({ period, unit, limit, retryAfterSecs }: BudgetExceeded): LMServError {
  const size = unit === 'tokens' ? `${limit} tokens` : formatNano(limit);
  return new LMServError('budget_exceeded', `The budget of ${size} for this ${period} is used up`, {
    retryAfter: retryAfterSecs,
  });
}
