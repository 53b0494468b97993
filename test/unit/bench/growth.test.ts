import { verdictOf } from '../../../bench/growth.js';

const costs = (...pairs: [number, number][]) => pairs.map(([size, cost]) => ({ size, cost }));

describe('growth that is not allowed', () => {
  it('is not what rounds differ by', () => {
    expect(verdictOf(costs([0, 2], [1000, 2.2]), 'not at all')).toBe('does not grow');
  });

  it('is found at any size', () => {
    expect(verdictOf(costs([1, 100], [8, 130], [64, 90]), 'not at all')).toBe('GROWS');
  });

  it('is found where nothing was measured', () => {
    expect(verdictOf(costs([1, 100], [8, NaN]), 'not at all')).toBe('GROWS');
  });
});

describe('linear growth', () => {
  it('lies on a line, whatever a request costs anyway', () => {
    expect(verdictOf(costs([1, 2], [100, 3], [900, 11]), 'linearly')).toBe('grows at most linearly');
  });

  it('is exceeded by what lies above the line', () => {
    expect(verdictOf(costs([1, 2], [100, 3], [900, 15]), 'linearly')).toBe('GROWS FASTER THAN LINEARLY');
  });

  it('is in proportion where there are two sizes only', () => {
    expect(verdictOf(costs([10, 1], [20, 2]), 'linearly')).toBe('grows at most linearly');
    expect(verdictOf(costs([10, 1], [20, 4]), 'linearly')).toBe('GROWS FASTER THAN LINEARLY');
  });

  it('may be no growth', () => {
    expect(verdictOf(costs([1, 2], [100, 1.9], [900, 2.1]), 'linearly')).toBe('does not grow');
  });
});

test('one size has no growth', () => {
  expect(verdictOf(costs([1, 1]), 'linearly')).toBe('one size only');
});
