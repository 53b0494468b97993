import { ChaosError } from '../../chaos/errors.js';
import { parseChaosArgs } from '../../chaos/options.js';
import { PRESETS } from '../../chaos/presets.js';

test('without options it is a minute of everything, with a seed of its own', () => {
  const options = parseChaosArgs([])!;
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
  expect(parseChaosArgs(args)).toMatchObject(expected);
});

test.each([
  [['--preset', 'toString'], '--preset'],
  [['--preset', 'nope'], 'one of mixed, kills, soak, bodies, hostile'],
  [['--requests', '0'], '--requests'],
  [['--requests', '1.5'], '--requests'],
  [['--seconds', ''], '--seconds'],
  [['--stop-rate', '2'], '--stop-rate'],
  [['--seed', 'x'], '--seed'],
  [['--no-such'], '--no-such'],
])('%j is refused by its name', (args, name) => {
  expect(() => parseChaosArgs(args)).toThrow(ChaosError);
  expect(() => parseChaosArgs(args)).toThrow(name);
});

test('help asks for nothing else', () => {
  expect(parseChaosArgs(['--help'])).toBeUndefined();
});
