import { parseBodiesArgs } from '../../../chaos/bodies/options.js';
import { ChaosError } from '../../../chaos/errors.js';

test('without options it is a million requests, with a seed of its own', () => {
  const options = parseBodiesArgs([])!;
  expect(options).toMatchObject({ count: 1_000_000, concurrency: 64 });
  expect(options.seed).toBeGreaterThanOrEqual(1);
});

test('a run can be repeated', () => {
  const args = ['--requests', '9', '--seed', '7', '--concurrency', '2'];
  expect(parseBodiesArgs(args)).toEqual({ count: 9, seed: 7, concurrency: 2 });
});

test.each([
  [['--requests', '0'], '--requests: must be a whole number from 1'],
  [['--requests', ''], '--requests: must'],
  [['--seed', 'x'], '--seed: must'],
  [['--concurrency', '1.5'], '--concurrency: must'],
  [['--json', 'x'], '--json'],
  [['--json', 'x'], 'takes --requests, --seed and --concurrency'],
])('%j is refused in one line: %s', (args, words) => {
  expect(() => parseBodiesArgs(args)).toThrow(ChaosError);
  expect(() => parseBodiesArgs(args)).toThrow(words);
  expect(() => parseBodiesArgs(args)).not.toThrow('\n');
});

test('help asks for nothing else', () => {
  expect(parseBodiesArgs(['--help'])).toBeUndefined();
});
