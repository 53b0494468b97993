import { chaosCommand, parseChaosArgs, PRESETS } from '../../chaos/options.js';
import { quiet } from '../../support/command-line.js';

const parse = (...args: string[]) => parseChaosArgs(args, quiet(chaosCommand()));

test('the default is a minute of everything with a random seed', () => {
  const options = parse();
  expect(options).toMatchObject({ ...PRESETS.mixed, preset: 'mixed', json: undefined });
  expect(Number.isInteger(options.seed)).toBe(true);
});

test.each([
  [
    ['--preset', 'kills'],
    { requests: 10_000, seconds: undefined, workers: 4, killEveryMs: 2_000, stopRate: 0 },
  ],
  [['--preset', 'soak'], { requests: 100_000, maxTokens: 2, killEveryMs: 0 }],
  [['--seconds', '5'], { seconds: 5, requests: undefined }],
  [['--requests', '9'], { seconds: undefined, requests: 9 }],
  [['--requests', '9', '--seconds', '5'], { seconds: 5, requests: 9 }],
  [['--seed', '0', '--stop-rate', '0.5', '--kill-every', '0'], { seed: 0, stopRate: 0.5, killEveryMs: 0 }],
])('%j', (args, expected) => {
  expect(parse(...args)).toMatchObject(expected);
});

test('bodies sends a million requests by default, with a random seed', () => {
  expect(parse('--preset', 'bodies')).toEqual({
    preset: 'bodies',
    count: 1_000_000,
    concurrency: 64,
    seed: expect.any(Number),
  });
});

test('bodies takes a number of requests, a seed and a concurrency', () => {
  const args = ['--requests', '9', '--seed', '7', '--concurrency', '2'];
  expect(parse('--preset=bodies', ...args)).toEqual({ preset: 'bodies', count: 9, seed: 7, concurrency: 2 });
});

test('hostile takes a time and a seed, by default a random one', () => {
  const args = ['--seconds', '9', '--seed', '0'];
  expect(parse('--preset', 'hostile', ...args)).toEqual({ preset: 'hostile', seconds: 9, seed: 0 });
  expect(parse('--preset', 'hostile', '--only', 'remote')).toMatchObject({ only: 'remote' });
  expect(parse('--preset', 'hostile')).toEqual({ preset: 'hostile', seconds: 60, seed: expect.any(Number) });
});

test.each([
  [['--preset', 'toString'], '--preset'],
  [['--preset', 'nope'], 'Allowed choices are mixed, kills, soak, bodies, hostile'],
  [['--requests', '0'], "'--requests <number>' argument '0' is invalid. It must be a whole number from 1 to"],
  [['--requests', ''], '--requests'],
  [['--requests', '1.5'], '--requests'],
  [['--seconds', ''], '--seconds'],
  [['--seconds', '0'], '--seconds'],
  [['--concurrency', '1.5'], '--concurrency'],
  [['--stop-rate', '2'], '--stop-rate'],
  [['--seed', 'x'], '--seed'],
  [['--seed', ''], '--seed'],
  [['--no-such'], '--no-such'],
  [['--preset', 'bodies', '--json', 'x'], 'takes only --requests, --seed, --concurrency, not --json'],
  [['--preset', 'hostile', '--workers', '2'], 'takes only --seconds, --seed, --only, not --workers'],
])('%j is refused in one line: %s', (args, words) => {
  expect(() => parse(...args)).toThrow(words);
  expect(() => parse(...args)).not.toThrow('\n');
});

test('--help shows the options and runs nothing', () => {
  expect(() => parse('--help')).toThrow(expect.objectContaining({ code: 'commander.helpDisplayed' }));
});
