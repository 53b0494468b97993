import { figure } from '../report/format.js';
import { formatTable } from '../report/table.js';
import type { Row } from './result.js';

/** A goal beside what was measured. */
export interface Judged {
  readonly goal: string;
  readonly streams: number;
  readonly measured: number;
  /** The most that meets it; the least where `atLeast` is set. */
  readonly limit: number;
  readonly met: boolean;
}

interface Goal {
  readonly name: string;
  readonly atLeast?: boolean;
  /** One-token replies, which show what a request costs, or long ones. */
  readonly oneToken?: boolean;
  /** By number of streams. */
  readonly limits: Readonly<Record<number, number>>;
  readonly pick: (row: Row) => number | undefined;
}

const GOALS: readonly Goal[] = [
  { name: 'CPU per token / bare', limits: { 1: 1.2, 8: 1.2 }, pick: ({ ofBare }) => ofBare?.cpu.median },
  {
    name: 'CPU per request / bare',
    oneToken: true,
    limits: { 1: 2 },
    pick: ({ ofBare }) => ofBare?.cpu.median,
  },
  {
    name: 'event rate / bare',
    atLeast: true,
    limits: { 1: 0.97, 8: 0.97, 32: 0.97 },
    pick: ({ ofBare }) => ofBare?.rate.median,
  },
  {
    name: 'first token after direct, p50 ms',
    limits: { 1: 1, 8: 3 },
    pick: ({ firstTokenLater }) => firstTokenLater?.median,
  },
];

/** Goals are for `/v1/chat/completions` in front of the demo model; those that were not measured are left out. */
export function judge(rows: readonly Row[]): Judged[] {
  const own = rows.filter(({ model, target }) => model === 'demo' && target === 'lmserv-openai');
  return GOALS.flatMap(({ name, atLeast = false, oneToken = false, limits, pick }) =>
    own.flatMap((row) => {
      const limit = limits[row.streams];
      const measured = pick(row);
      if (limit === undefined || measured === undefined || (row.tokens === 1) !== oneToken) return [];
      const met = atLeast ? measured >= limit : measured <= limit;
      return [{ goal: name, streams: row.streams, measured, limit: limit, met }];
    }),
  );
}

export function goalsTable(judged: readonly Judged[]): string {
  return formatTable(
    ['goal', 'streams', 'measured', 'limit', ''],
    judged.map(({ goal, streams, measured, limit, met }) => [
      goal,
      String(streams),
      figure(measured),
      String(limit),
      met ? 'met' : 'MISSED',
    ]),
  );
}
