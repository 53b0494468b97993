import { parseBenchArgs } from '../../../bench/options.js';

const parse = (...args: string[]) => parseBenchArgs(args, '/results');

it('measures everything unless told otherwise, and keeps it', () => {
  expect(parse()).toEqual({
    benchmark: undefined,
    options: { models: ['demo', 'large'], quick: false },
    out: '/results',
  });
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

it('keeps no report of a quick run, or where it is told to', () => {
  expect(parse('--quick')?.out).toBeUndefined();
  expect(parse('--quick', '--out', '/elsewhere')?.out).toBe('/elsewhere');
});

it.each([
  [['--model', 'huge'], '--model huge'],
  [['--streams', '0'], '--streams 0'],
  [['--streams', '1,257'], '--streams 257'],
  [['--rounds', 'x'], '--rounds x'],
  [['--targets', 'apache'], '--targets apache'],
  [['--nonsense'], '--nonsense'],
  [['slots', 'start'], 'name one'],
])('refuses %j and says why', (args, words) => {
  expect(() => parse(...args)).toThrow(words);
});

it('shows its help', () => {
  expect(parse('--help')).toBeUndefined();
});
