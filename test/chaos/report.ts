import { balanceLine, figuresOf, passed, type Figure, type Findings } from './figures.js';

/** The findings for people: the balance, what came of the requests, the figures beside their goals. */
export function reportText(found: Findings): string {
  const { tally, options } = found;
  return [
    '',
    ...tally.examples.map((example) => `! ${JSON.stringify(example)}`),
    ...found.errors.slice(0, SHOWN_ERRORS).map((line) => `! ${line}`),
    balanceLine(tally),
    ...[...tally.reasons].sort().map(([reason, count]) => `  ${String(count).padStart(7)}  ${reason}`),
    '',
    ...tableLines(figuresOf(found)),
    '',
    `${passed(found) ? 'Passed' : 'FAILED'}: ${options.preset}, seed ${options.seed}, ${(found.loadMs / 1000).toFixed(0)} s under load.`,
    '',
  ].join('\n');
}

/** The findings for programs. */
export function reportJson(found: Findings): object {
  const { tally } = found;
  const { admitted, outcomes, compared, losses, brokenPlain, balanced, examples } = tally;
  const reasons = Object.fromEntries(tally.reasons);
  return {
    ...found,
    passed: passed(found),
    figures: figuresOf(found),
    tally: { admitted, balanced, outcomes, reasons, compared, losses, brokenPlain, examples },
  };
}

const SHOWN_ERRORS = 5;

const MARKS = { true: 'met', false: 'MISSED', undefined: '' } as const;

function tableLines(figures: readonly Figure[]): string[] {
  const rows = [
    { name: 'figure', value: 'found', goal: 'goal', mark: '' },
    ...figures.map(({ met, ...row }) => ({ ...row, mark: MARKS[`${met}`] })),
  ];
  const width = (key: 'name' | 'value' | 'goal') => Math.max(...rows.map((row) => row[key].length));
  const [names, values, goals] = [width('name'), width('value'), width('goal')];
  return rows.map(({ name, value, goal, mark }) =>
    `${name.padEnd(names)}  ${value.padEnd(values)}  ${goal.padEnd(goals)}  ${mark}`.trimEnd(),
  );
}
