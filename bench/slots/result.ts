import { errorCount, type Sample } from '../measure.js';
import type { ModelName } from '../model/models.js';
import { barChart, type Panel } from '../report/chart.js';
import { figure } from '../report/format.js';
import { formatTable } from '../report/table.js';
import { quantile, spread, sum, type Spread } from '../statistics.js';
import { nameOf, type Layout } from './layouts.js';

/** Memory of all workers of a layout, MiB. */
export interface WorkerMemory {
  /** What belongs to no file. */
  readonly anonymous: number;
  /** With each worker's part of the model file that all share. */
  readonly proportional: number;
}

/** One start of a layout: a sample for each number of streams, and the memory after them. */
export interface Visit {
  readonly layout: Layout;
  readonly samples: ReadonlyMap<number, Sample>;
  readonly memory: WorkerMemory;
}

/** Medians of the rounds. Times are milliseconds. */
export interface SlotsRow {
  readonly model: ModelName;
  readonly layout: string;
  readonly streams: number;
  readonly tokensPerSecond: Spread;
  readonly firstTokenP50: number;
  readonly firstTokenP99: number;
  readonly gapP50: number;
  readonly gapP99: number;
  readonly memory: WorkerMemory;
  readonly errors: number;
}

export function rowOf(model: ModelName, layout: Layout, streams: number, visits: readonly Visit[]): SlotsRow {
  const mine = visits.filter((visit) => visit.layout === layout);
  const samples = mine.flatMap((visit) => visit.samples.get(streams) ?? []);
  const median = (pick: (sample: Sample) => number) => quantile(samples.map(pick), 0.5);
  const memory = (pick: (memory: WorkerMemory) => number) =>
    quantile(
      mine.map((visit) => pick(visit.memory)),
      0.5,
    );
  return {
    ...{ model, layout: nameOf(layout), streams },
    tokensPerSecond: spread(samples.map(({ eventsPerSecond }) => eventsPerSecond)),
    firstTokenP50: median((sample) => sample.firstTokenP50),
    firstTokenP99: median((sample) => sample.firstTokenP99),
    gapP50: median((sample) => sample.gapP50),
    gapP99: median((sample) => sample.gapP99),
    memory: {
      anonymous: memory(({ anonymous }) => anonymous),
      proportional: memory(({ proportional }) => proportional),
    },
    errors: sum(samples.map(errorCount)),
  };
}

const HEAD = [
  ...['workers × slots', 'streams', 'tokens/s', 'lowest–highest', 'first token p50', 'p99 ms'],
  ...['gap p50', 'p99 ms', 'RssAnon MiB', 'PSS MiB', 'errors'],
];

export function slotsTable(rows: readonly SlotsRow[]): string {
  return formatTable(
    HEAD,
    rows.map((row) => [
      row.layout,
      String(row.streams),
      figure(row.tokensPerSecond.median),
      `${figure(row.tokensPerSecond.min)}–${figure(row.tokensPerSecond.max)}`,
      ...[row.firstTokenP50, row.firstTokenP99, row.gapP50, row.gapP99].map(figure),
      ...[row.memory.anonymous, row.memory.proportional].map(figure),
      String(row.errors),
    ]),
  );
}

/** Tokens a second in sum for each model, by number of streams. */
export function slotsChart(rows: readonly SlotsRow[]): string {
  const models = [...new Set(rows.map(({ model }) => model))];
  return barChart(
    'Workers × slots: tokens a second in sum',
    models.map((model) => panel(model, rows)),
  );
}

function panel(model: ModelName, all: readonly SlotsRow[]): Panel {
  const rows = all.filter((row) => row.model === model);
  const streams = [...new Set(rows.map((row) => row.streams))];
  const layouts = [...new Set(rows.map((row) => row.layout))];
  const find = (layout: string, count: number) =>
    rows.find((row) => row.layout === layout && row.streams === count)?.tokensPerSecond;
  return {
    title: `${model} model, by number of streams`,
    groups: streams.map(String),
    series: layouts.map((name) => ({ name, values: streams.map((count) => find(name, count)) })),
  };
}
