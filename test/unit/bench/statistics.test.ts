import { quantile, ratios, spread } from '../../../bench/statistics.js';

describe('quantile', () => {
  it('is a value that was seen, or between two in proportion', () => {
    expect(quantile([4, 1, 3, 2], 0)).toBe(1);
    expect(quantile([4, 1, 3, 2], 0.5)).toBe(2.5);
    expect(quantile([10, 20, 30], 0.75)).toBe(25);
    expect(quantile(Float64Array.of(9, 7, 8), 1)).toBe(9);
  });

  it('orders numbers as numbers and leaves its argument alone', () => {
    const values = [100, 20, 3];
    expect(quantile(values, 0.5)).toBe(20);
    expect(values).toEqual([100, 20, 3]);
  });

  it('of nothing is not a number', () => {
    expect(quantile([], 0.5)).toBeNaN();
  });
});

test('a spread is the median with the lowest and the highest', () => {
  expect(spread([5, 1, 3])).toEqual({ median: 3, min: 1, max: 5 });
});

test('ratios compare what was measured in the same round', () => {
  expect(ratios([90, 40], [100, 50])).toEqual([0.9, 0.8]);
});
