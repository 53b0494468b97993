import { LMServError } from '../../../../src/errors.js';
import { budgetError, budgetSchema, checkBudget, toBudget } from '../../../../src/accounts/usage/budget.js';
import type { BudgetFields } from '../../../../src/accounts/usage/budget.js';
import { toNano } from '../../../../src/accounts/usage/money.js';
import type { Spent } from '../../../../src/accounts/usage/spending.js';

const NOW = Date.parse('2025-01-30T23:59:30.500Z');

function check(fields: BudgetFields, day: number, month: number, now = NOW): ReturnType<typeof checkBudget> {
  const spent = (cost: number): Spent => ({ costNano: toNano(cost), tokens: BigInt(Math.trunc(cost)) });
  return checkBudget(toBudget(fields), { day: spent(day), month: spent(month) }, now);
}

describe('checkBudget', () => {
  test('accepts spending below the limits, and any spending without limits', () => {
    expect(check({ day: 5, month: 50 }, 4.999999999, 49)).toBeUndefined();
    expect(check({}, 1e6, 1e6)).toBeUndefined();
    expect(check({ month: 50 }, 49, 49)).toBeUndefined();
  });

  test('reports a day’s budget as used up to the nano, until midnight UTC', () => {
    const exceeded = { period: 'day', unit: 'costNano', limit: 5_000_000_000n, retryAfterSecs: 30 };
    expect(check({ day: 5, month: 50 }, 5, 5)).toEqual(exceeded);
  });

  test('reports the month’s budget before the day’s, until the end of the month', () => {
    const exceeded = {
      period: 'month',
      unit: 'costNano',
      limit: 5_000_000_000n,
      retryAfterSecs: 30 + 86_400,
    };
    expect(check({ day: 5, month: 5 }, 6, 6)).toEqual(exceeded);
  });

  test('checks token limits separately, and refuses everything with a budget of 0', () => {
    expect(check({ dayTokens: 7 }, 7, 7)).toMatchObject({ period: 'day', unit: 'tokens', limit: 7n });
    expect(check({ monthTokens: 8 }, 7, 7)).toBeUndefined();
    expect(check({ day: 0 }, 0, 0)).toMatchObject({ period: 'day', limit: 0n });
  });

  test.each([
    ['2025-12-31T23:59:59.999Z', 1],
    ['2024-02-28T00:00:00Z', 2 * 86_400],
    ['2025-02-28T00:00:00Z', 86_400],
    ['2025-03-01T00:00:00Z', 31 * 86_400],
    // Clocks change in Europe on that day; UTC’s do not.
    ['2025-03-30T00:00:00Z', 2 * 86_400],
  ])('at %s reports %d seconds until the end of the month', (iso, secs) => {
    expect(check({ month: 1 }, 1, 1, Date.parse(iso))?.retryAfterSecs).toBe(secs);
  });
});

test('the client’s error is 429 budget_exceeded with Retry-After', () => {
  const error = budgetError(check({ day: 2.5 }, 3, 3)!);
  expect(error).toBeInstanceOf(LMServError);
  expect(error).toMatchObject({ code: 'budget_exceeded', status: 429, retryAfter: 30 });
  expect(error.message).toBe('The budget of 2.5 for this day is used up');
  expect(budgetError(check({ monthTokens: 2 }, 3, 3)!).message).toContain('2 tokens for this month');
});

test.each([
  ...[-1, Infinity, NaN, '5', 1e300, 1e-10, 5e-324, 0.1234567891].map((day) => ({ day })),
  ...[1.5, 1e18, -1].map((dayTokens) => ({ dayTokens })),
  { week: 1 },
])('the schema rejects %j', (fields) => expect(budgetSchema.safeParse(fields).success).toBe(false));

test('the largest amounts are checked exactly', () => {
  const fields = { month: 1e18, day: 123456.123456789, monthTokens: Number.MAX_SAFE_INTEGER };
  const { month, day } = toBudget(budgetSchema.parse(fields));
  expect([month.costNano, day.costNano]).toEqual([BigInt(1e27), 123_456_123_456_789n]);
  expect(check(fields, 1e5, 1e5)).toBeUndefined();
  const { message } = budgetError(check({ month: 1e12 }, 0, 1e12)!);
  expect(message).toBe('The budget of 1000000000000 for this month is used up');
});

test('the schema accepts a budget', () => {
  const fields = { day: 0.5, month: 10, dayTokens: 1000, monthTokens: 0 };
  expect(budgetSchema.parse(fields)).toEqual(fields);
});
