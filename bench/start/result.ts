import type { ModelName } from '../model/models.js';
import { barChart, type Panel } from '../report/chart.js';
import { figure } from '../report/format.js';
import { formatTable } from '../report/table.js';
import { spread, type Spread } from '../statistics.js';
import { STAGES, type StartTimes } from './start.js';

export interface StartRow {
  readonly model: ModelName;
  /** The command. */
  readonly way: string;
  readonly workers: number;
  /** Milliseconds since the command was given, by stage. */
  readonly stages: Readonly<Record<keyof StartTimes, Spread>>;
}

export function stagesOf(runs: readonly StartTimes[]): StartRow['stages'] {
  const entries = STAGES.map((stage) => [stage, spread(runs.map((run) => run[stage]))]);
  return Object.fromEntries(entries) as StartRow['stages'];
}

const LABELS: Record<keyof StartTimes, string> = {
  running: 'code runs',
  listening: 'listens',
  firstReady: 'a worker is ready',
  firstToken: 'first token',
  allReady: 'all are ready',
};

export function startTable(rows: readonly StartRow[]): string {
  const head = ['command', 'model', 'workers', ...STAGES.map((stage) => LABELS[stage])];
  return formatTable(
    head,
    rows.map(({ way, model, workers, stages }) => [
      way,
      model,
      String(workers),
      ...STAGES.map((stage) => cell(stages[stage])),
    ]),
  );
}

const cell = ({ median, min, max }: Spread): string => `${figure(median)} (${figure(min)}–${figure(max)})`;

export function startChart(rows: readonly StartRow[]): string {
  const models = [...new Set(rows.map(({ model }) => model))];
  return barChart(
    'From the command to the first token, milliseconds',
    models.map((model) =>
      panel(
        model,
        rows.filter((row) => row.model === model),
      ),
    ),
  );
}

function panel(model: ModelName, rows: readonly StartRow[]): Panel {
  return {
    title: `${model} model, by command and number of workers`,
    groups: rows.map(({ way, workers }) => `${way}, ${workers}`),
    series: STAGES.map((stage) => ({
      name: LABELS[stage],
      values: rows.map(({ stages }) => stages[stage]),
    })),
  };
}
