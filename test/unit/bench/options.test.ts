import { benchCommand, parseBenchArgs, RESULTS } from '../../../bench/options.js';
import { quiet } from '../../support/command-line.js';

const parse = (...args: string[]) => parseBenchArgs(args, quiet(benchCommand()));

it('compares with the demo model by default, and keeps the report', () => {
  expect(parse()).toEqual({
    benchmark: 'comparison',
    options: { models: ['demo'], quick: false },
    out: RESULTS,
  });
});

it('measures with both models if asked to', () => {
  expect(parse('--model', 'both').options.models).toEqual(['demo', 'large']);
});

it('reads lists and numbers', () => {
  const given = parse(
    'slots',
    '--model',
    'demo',
    '--streams',
    '1,8',
    '--rounds',
    '3',
    '--targets',
    'nginx,bare',
  );
  expect(given).toMatchObject({
    benchmark: 'slots',
    options: { models: ['demo'], streams: [1, 8], rounds: 3, targets: ['nginx', 'bare'] },
  });
});

it('keeps no report of a quick run unless --out names a folder', () => {
  expect(parse('--quick').out).toBeUndefined();
  expect(parse('--quick', '--out', '/elsewhere').out).toBe('/elsewhere');
});

it.each([
  [
    ['--model', 'huge'],
    "'--model <name>' argument 'huge' is invalid. Allowed choices are demo, large, both.",
  ],
  [
    ['--streams', '0'],
    "'--streams <list>' argument '0' is invalid. It must be a whole number from 1 to 256.",
  ],
  [['--streams', '1,257'], "'--streams <list>' argument '1,257'"],
  [['--rounds', 'x'], "'--rounds <number>' argument 'x'"],
  [['--targets', 'apache'], "'--targets <list>' argument 'apache' is invalid. apache is none of"],
  [['--nonsense'], '--nonsense'],
  [['slots', 'start'], 'too many arguments'],
])('refuses %j and says why', (args, words) => {
  expect(() => parse(...args)).toThrow(words);
});

it('shows its help', () => {
  expect(() => parse('--help')).toThrow(expect.objectContaining({ code: 'commander.helpDisplayed' }));
});
