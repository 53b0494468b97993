import { Random } from '../../harness/random.js';

const draw = (random: Random) => Array.from({ length: 5 }, () => random.next());

test('the same seed gives the same numbers', () => {
  expect(draw(new Random(7, 1, 2))).toEqual(draw(new Random(7, 1, 2)));
});

test.each([
  ['another seed', new Random(8, 1, 2)],
  ['another stream', new Random(7, 2, 2)],
  ['another request', new Random(7, 1, 3)],
  ['the same numbers in another order', new Random(7, 2, 1)],
])('%s gives other numbers', (_, other) => {
  expect(draw(other)).not.toEqual(draw(new Random(7, 1, 2)));
});

test('whole numbers stay between their bounds and reach both', () => {
  const random = new Random(1);
  const drawn = new Set(Array.from({ length: 200 }, () => random.int(3, 5)));
  expect([...drawn].sort()).toEqual([3, 4, 5]);
});

test('keys are drawn by their weights', () => {
  const random = new Random(1);
  const counts = { often: 0, seldom: 0, never: 0 };
  for (let turn = 0; turn < 2_000; turn += 1)
    counts[random.weighted({ often: 90, seldom: 10, never: 0 })] += 1;
  expect(counts.never).toBe(0);
  expect(counts.seldom).toBeGreaterThan(100);
  expect(counts.seldom).toBeLessThan(300);
});

test('shuffling keeps every item', () => {
  expect(new Random(1).shuffled([1, 2, 3, 4]).sort()).toEqual([1, 2, 3, 4]);
});
