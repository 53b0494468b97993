import type { ModelName } from '../model/models.js';
import { barChart } from '../report/chart.js';
import { figure, spreadFigure } from '../report/format.js';
import { formatTable } from '../report/table.js';
import { quantile, ratios, spread, sum, type Spread } from '../statistics.js';
import type { Turn } from './conversation.js';

/** Conversations of one round by way of one rival. */
export type Round = readonly (readonly Turn[])[];

/** Medians over the rounds. Times are milliseconds; first turns, of which nobody can have anything, are left out. */
export interface AffinityRow {
  readonly model: ModelName;
  readonly way: string;
  /** Conversations held at a time. */
  readonly conversations: number;
  readonly firstTokenP50: Spread;
  readonly firstTokenP99: number;
  /** Share of prompt tokens that were found in a cache. */
  readonly hitRate: number;
}

/** One way's rows, and how many times longer the first token takes with the other. */
export interface AffinityPair {
  readonly rows: readonly [AffinityRow, AffinityRow];
  /** Round robin by LMServ, round by round. */
  readonly ratio: Spread;
}

export function pairOf(
  model: ModelName,
  conversations: number,
  lmserv: readonly Round[],
  robin: readonly Round[],
): AffinityPair {
  const row = (way: string, rounds: readonly Round[]): AffinityRow => {
    const turns = rounds.flatMap(laterTurns);
    return {
      ...{ model, way, conversations },
      firstTokenP50: spread(rounds.map(p50)),
      firstTokenP99: quantile(times(turns), 0.99),
      hitRate: sum(turns.map((turn) => turn.cachedTokens)) / sum(turns.map((turn) => turn.promptTokens)),
    };
  };
  return {
    rows: [row('LMServ', lmserv), row('round robin', robin)],
    ratio: spread(ratios(robin.map(p50), lmserv.map(p50))),
  };
}

const laterTurns = (round: Round): Turn[] => round.flatMap((turns) => turns.slice(1));
const times = (turns: readonly Turn[]): number[] => turns.map(({ firstTokenMs }) => firstTokenMs);
const p50 = (round: Round): number => quantile(times(laterTurns(round)), 0.5);

const HEAD = [
  'model',
  'way',
  'conversations',
  'first token p50 ms',
  'p99 ms',
  'cached',
  'round robin / LMServ',
];

export function affinityTable(pairs: readonly AffinityPair[]): string {
  const rows = pairs.flatMap(({ rows, ratio }) =>
    rows.map((row, index) => [
      row.model,
      row.way,
      String(row.conversations),
      figure(row.firstTokenP50.median),
      figure(row.firstTokenP99),
      `${(row.hitRate * 100).toFixed(1)} %`,
      index === 0 ? spreadFigure(ratio) : '',
    ]),
  );
  return formatTable(HEAD, rows);
}

/** Time to the first token for each model, by number of conversations. */
export function affinityChart(pairs: readonly AffinityPair[]): string {
  const models = [...new Set(pairs.map(({ rows }) => rows[0].model))];
  const panels = models.map((model) => {
    const own = pairs.filter(({ rows }) => rows[0].model === model);
    return {
      title: `${model} model: milliseconds, by conversations at a time`,
      groups: own.map(({ rows }) => String(rows[0].conversations)),
      series: [0, 1].map((way) => ({
        name: own[0]!.rows[way]!.way,
        values: own.map(({ rows }) => rows[way]!.firstTokenP50),
      })),
    };
  });
  return barChart('Time to the first token of later turns, p50', panels);
}
