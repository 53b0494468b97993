import { costNano, formatNano, toNano } from '../../../../src/accounts/usage/money.js';

test.each([
  [0.0000375, 37_500],
  [0.00015, 150_000],
  [0.1, 100_000_000],
  [12.345678912, 12_345_678_912],
  [0, 0],
])('%d of the currency are %d nanos', (amount, nano) => expect(toNano(amount)).toBe(BigInt(nano)));

test.each([
  [0, '0'],
  [1, '0.000000001'],
  [37_500, '0.0000375'],
  [1_000_000_000, '1'],
  [1_500_000_000, '1.5'],
  [9_007_199_254_740_991, '9007199.254740991'],
])('%d nanos are written %s', (nano, text) => expect(formatNano(BigInt(nano))).toBe(text));

/** Tokens of a prompt and a completion. */
const tokens = (promptTokens: number, completionTokens: number) => ({ promptTokens, completionTokens });

test('prompt and completion have separate prices', () => {
  const price = { promptPer1k: 0.00015, completionPer1k: 0.0006 };
  expect(costNano(tokens(1000, 1000), price)).toBe(750_000);
  expect(costNano(tokens(7, 3), price)).toBe(2850);
});

test.each([NaN, Infinity, -Infinity, -5, 2 ** 60, 1e300, 5e-324, 0.5])(
  'the cost of %d tokens is a safe integer, whatever the price',
  (count) => {
    for (const price of [0, 0.002, 1e6, 1e300, NaN, -1]) {
      const cost = costNano(tokens(count, count), { promptPer1k: price, completionPer1k: price });
      expect(Number.isSafeInteger(cost)).toBe(true);
      expect(cost).toBeGreaterThanOrEqual(0);
    }
  },
);

test('a cost is rounded once, half up', () => {
  const price = { promptPer1k: 0.0000005, completionPer1k: 0.0000005 };
  expect(costNano(tokens(1, 0), price)).toBe(1);
  expect(costNano(tokens(1, 1), price)).toBe(1);
  expect(costNano(tokens(0, 0), price)).toBe(0);
});

test('a cost is exact even if the product is not a safe integer, and bounded', () => {
  const price = { promptPer1k: 0.999999999, completionPer1k: 0 };
  expect(costNano(tokens(100_000_001, 0), price)).toBe(100_000_000_900_000);
  expect(costNano(tokens(1e15, 0), { promptPer1k: 1e6, completionPer1k: 0 })).toBe(1e15);
});
