import { ChaosError } from '../../../chaos/errors.js';
import { parseHostileArgs } from '../../../chaos/hostile/options.js';

test('it takes a time and a seed, and draws a seed of its own', () => {
  expect(parseHostileArgs(['--seconds', '9', '--seed', '0'])).toEqual({ seconds: 9, seed: 0 });
  expect(parseHostileArgs(['--only', 'remote'])).toMatchObject({ only: 'remote' });
  expect(parseHostileArgs([])).toEqual({ seconds: 60, seed: expect.any(Number) });
  expect(parseHostileArgs(['--help'])).toBeUndefined();
});

test.each([
  [['--seconds', '0'], '--seconds'],
  [['--seed', ''], '--seed'],
  [['--workers', '2'], 'takes --seconds and --seed'],
])('%j is refused by its name', (args, name) => {
  expect(() => parseHostileArgs(args)).toThrow(ChaosError);
  expect(() => parseHostileArgs(args)).toThrow(name);
});
