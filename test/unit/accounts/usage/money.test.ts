import { expect, test } from '@jest/globals';
import { costNano, formatNano, toNano } from '../../../../src/accounts/usage/money.js';

test.each([
  [0.0000375, 37_500],
  [0.00015, 150_000],
  [0.1, 100_000_000],
  [12.345678912, 12_345_678_912],
  [0, 0],
])('%d of the currency are %d nanos', (amount, nano) => {
  expect(toNano(amount)).toBe(BigInt(nano));
});

test.each([
  [0, '0'],
  [1, '0.000000001'],
  [37_500, '0.0000375'],
  [1_000_000_000, '1'],
  [1_500_000_000, '1.5'],
  [9_007_199_254_740_991, '9007199.254740991'],
])('%d nanos are written %s', (nano, text) => {
  expect(formatNano(BigInt(nano))).toBe(text);
});

test('prompt and completion have prices of their own', () => {
  const price = { promptPer1k: 0.00015, completionPer1k: 0.0006 };
  expect(costNano({ promptTokens: 1000, completionTokens: 1000 }, price)).toBe(750_000);
  expect(costNano({ promptTokens: 7, completionTokens: 3 }, price)).toBe(2850);
});

test.each([NaN, Infinity, -Infinity, -5, 2 ** 60, 1e300, 5e-324, 0.5])(
  'a count of %d costs a sum that can be booked',
  (tokens) => {
    for (const price of [0, 0.002, 1e6, 1e300, NaN, -1]) {
      const cost = costNano(
        { promptTokens: tokens, completionTokens: tokens },
        { promptPer1k: price, completionPer1k: price },
      );
      expect(Number.isSafeInteger(cost)).toBe(true);
      expect(cost).toBeGreaterThanOrEqual(0);
    }
  },
);

test('is rounded once, half up', () => {
  const price = { promptPer1k: 0.0000005, completionPer1k: 0.0000005 };
  expect(costNano({ promptTokens: 1, completionTokens: 0 }, price)).toBe(1);
  expect(costNano({ promptTokens: 1, completionTokens: 1 }, price)).toBe(1);
  expect(costNano({ promptTokens: 0, completionTokens: 0 }, price)).toBe(0);
});

test('is exact where the product is past what a number holds, and bounded', () => {
  const price = { promptPer1k: 0.999999999, completionPer1k: 0 };
  expect(costNano({ promptTokens: 100_000_001, completionTokens: 0 }, price)).toBe(100_000_000_900_000);
  expect(
    costNano({ promptTokens: 1e15, completionTokens: 0 }, { promptPer1k: 1e6, completionPer1k: 0 }),
  ).toBe(1e15);
});
