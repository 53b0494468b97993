import { cpuPerRequest, cpuPerToken, errorCount, type Sample } from '../measure.js';
import type { ModelName } from '../model/models.js';
import { figure, formatTable } from '../report.js';
import { quantile, ratios, spread, type Spread, sum } from '../statistics.js';
import type { Target } from '../targets/target.js';

/** One kind of load for every target. */
export interface Load {
  readonly streams: number;
  /** Tokens of each reply. */
  readonly tokens: number;
  /** Min events of one measurement. */
  readonly events: number;
}

/** The samples of a target, and those of the worker's own endpoint from the same rounds. */
export interface Pairing {
  readonly target: Target;
  readonly samples: Sample[];
  readonly beside: Sample[];
}

/** A row of the table: medians of the rounds. Times are milliseconds. */
export interface Row {
  readonly model: ModelName;
  readonly streams: number;
  /** Tokens of each reply. */
  readonly tokens: number;
  readonly target: string;
  readonly eventsPerSecond: Spread;
  /** The event rate as a share of the direct one of the same round; undefined for the direct one itself. */
  readonly ofDirect: Spread | undefined;
  /** How much later than direct the first token comes, p50, round by round. */
  readonly firstTokenLater: Spread | undefined;
  /** The event rate, and the processor time of a request, divided by those of `bare` in the same round. */
  readonly ofBare: { readonly rate: Spread; readonly cpu: Spread } | undefined;
  /** Event rates, round by round. */
  readonly rates: readonly number[];
  readonly firstTokenP50: number;
  readonly firstTokenP99: number;
  readonly gapP50: number;
  readonly gapP99: number;
  /** Processor time of the server in between for each token, microseconds. */
  readonly cpuPerToken: Spread;
  /** The same for each request, milliseconds. */
  readonly cpuPerRequest: Spread;
  readonly events: number;
  readonly errors: number;
  /** What the errors were. */
  readonly reasons: readonly string[];
}

const rate = ({ eventsPerSecond }: Sample): number => eventsPerSecond;

/** The direct row, from all rounds of all pairs, and a row for each target. */
export function rowsOf(
  model: ModelName,
  { streams, tokens }: Pick<Load, 'streams' | 'tokens'>,
  pairings: readonly Pairing[],
): Row[] {
  const bare = pairings.find(({ target }) => target.name === 'bare');
  return [
    {
      model,
      streams,
      tokens,
      target: 'direct',
      ofDirect: undefined,
      firstTokenLater: undefined,
      ofBare: undefined,
      ...summary(pairings.flatMap(({ beside }) => beside)),
    },
    ...pairings.map(({ target, samples, beside }) => ({
      model,
      streams,
      tokens,
      target: target.name,
      ofDirect: spread(ratios(samples.map(rate), beside.map(rate))),
      firstTokenLater: spread(
        samples.map(({ firstTokenP50 }, round) => firstTokenP50 - beside[round]!.firstTokenP50),
      ),
      ofBare: bare && {
        rate: spread(ratios(samples.map(rate), bare.samples.map(rate))),
        cpu: spread(ratios(samples.map(cpuPerRequest), bare.samples.map(cpuPerRequest))),
      },
      ...summary(samples),
    })),
  ];
}

function summary(samples: readonly Sample[]) {
  const median = (pick: (sample: Sample) => number) => quantile(samples.map(pick), 0.5);
  return {
    eventsPerSecond: spread(samples.map(rate)),
    rates: samples.map(rate),
    firstTokenP50: median((sample) => sample.firstTokenP50),
    firstTokenP99: median((sample) => sample.firstTokenP99),
    gapP50: median((sample) => sample.gapP50),
    gapP99: median((sample) => sample.gapP99),
    cpuPerToken: spread(samples.map(cpuPerToken)),
    cpuPerRequest: spread(samples.map(cpuPerRequest)),
    events: sum(samples.map(({ events }) => events)),
    errors: sum(samples.map(errorCount)),
    reasons: [...new Set(samples.flatMap(({ errors }) => Object.keys(errors)))],
  };
}

/** A goal beside what was measured. */
interface Judged {
  readonly goal: string;
  readonly streams: number;
  readonly measured: number;
  /** The max that meets it; with `atLeast`, the min. */
  readonly limit: number;
  readonly met: boolean;
}

interface Goal {
  readonly name: string;
  readonly atLeast?: boolean;
  /** Judges one-token replies, which show the cost of a request, instead of long ones. */
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

/** Goals are for `/v1/chat/completions` in front of the demo model; what was not measured is left out. */
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
