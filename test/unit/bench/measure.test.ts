import { cpuPerRequest, cpuPerToken, errorCount, repliesFor, type Sample } from '../../../bench/measure.js';
import { quantile, ratios, spread } from '../../../bench/statistics.js';

const sample = (fields: Partial<Sample>): Sample => ({
  ...{ eventsPerSecond: 0, firstTokenP50: 0, firstTokenP99: 0, gapP50: 0, gapP99: 0 },
  ...{ events: 0, errors: {}, replies: 0, cpuMs: 0 },
  ...fields,
});

test('processor time is counted in microseconds for each token and milliseconds for each request', () => {
  const measured = sample({ cpuMs: 200, events: 4000, replies: 50 });
  expect(cpuPerToken(measured)).toBe(50);
  expect(cpuPerRequest(measured)).toBe(4);
});

test('errors of all kinds count', () => {
  expect(errorCount(sample({ errors: { cut: 2, 'status 500': 3 } }))).toBe(5);
});

describe('replies of a measurement', () => {
  it('are at least as many as the events need', () => {
    expect(repliesFor(1, 64, 4096)).toBe(64);
  });

  it('are the same number for each stream', () => {
    expect(repliesFor(8, 64, 1000) % 8).toBe(0);
    expect(repliesFor(128, 64, 4096)).toBe(128);
  });
});

describe('quantile', () => {
  it('is one of the values, or between two in proportion', () => {
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

  it('of no values is NaN', () => {
    expect(quantile([], 0.5)).toBeNaN();
  });
});

test('a spread is the median with the lowest and the highest', () => {
  expect(spread([5, 1, 3])).toEqual({ median: 3, min: 1, max: 5 });
});

test('ratios compare what was measured in the same round', () => {
  expect(ratios([90, 40], [100, 50])).toEqual([0.9, 0.8]);
});
