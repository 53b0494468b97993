import { barChart, type Panel } from '../report/chart.js';
import { figure, spreadFigure } from '../report/format.js';
import { formatTable } from '../report/table.js';
import type { Spread } from '../statistics.js';
import type { Row } from './result.js';

const HEAD = [
  'target',
  'streams × tokens',
  'events/s',
  'of direct (min–max)',
  'of bare (min–max)',
  'first token p50',
  'p99 ms',
  'gap p50',
  'p99 ms',
  'CPU µs/token',
  'CPU ms/request',
  'of bare (min–max)',
  'errors',
];

export function comparisonTable(rows: readonly Row[]): string {
  return formatTable(HEAD, rows.map(cells));
}

function cells(row: Row): string[] {
  const direct = row.ofDirect === undefined;
  return [
    row.target,
    `${row.streams} × ${row.tokens}`,
    figure(row.eventsPerSecond.median),
    direct ? '1' : spreadFigure(row.ofDirect),
    row.ofBare ? spreadFigure(row.ofBare.rate) : '–',
    figure(row.firstTokenP50),
    figure(row.firstTokenP99),
    figure(row.gapP50),
    figure(row.gapP99),
    direct || row.tokens === 1 ? '–' : figure(row.cpuPerToken.median),
    direct || row.tokens > 1 ? '–' : figure(row.cpuPerRequest.median),
    row.ofBare ? spreadFigure(row.ofBare.cpu) : '–',
    row.errors === 0 ? '0' : `${row.errors} (${row.reasons.join(', ')})`,
  ];
}

/** The kept event rate for each model, then the cost of an event. */
export function comparisonChart(rows: readonly Row[]): string {
  const models = [...new Set(rows.map(({ model }) => model))];
  const others = rows.filter(({ target, tokens }) => target !== 'direct' && tokens > 1);
  const panels = models.flatMap((model) => {
    const mine = others.filter((row) => row.model === model);
    const kept = `${model} model: event rate, direct = 1, by number of streams`;
    return [
      { ...panel(kept, mine, ({ ofDirect }) => ofDirect), reference: 1 },
      panel(
        `${model} model: processor time of the server in between, µs for each token`,
        mine,
        ({ cpuPerToken }) => cpuPerToken,
      ),
    ];
  });
  return barChart('What a server in front of llama.cpp costs', panels);
}

function panel(title: string, rows: readonly Row[], pick: (row: Row) => Spread | undefined): Panel {
  const streams = [...new Set(rows.map((row) => row.streams))];
  const targets = [...new Set(rows.map((row) => row.target))];
  const find = (target: string, count: number) =>
    rows.find((row) => row.target === target && row.streams === count);
  const valueOf = (target: string, count: number) => {
    const row = find(target, count);
    return row && pick(row);
  };
  return {
    title,
    groups: streams.map(String),
    series: targets.map((name) => ({ name, values: streams.map((count) => valueOf(name, count)) })),
  };
}
