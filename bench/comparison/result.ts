import { cpuPerRequest, cpuPerToken, errorCount, type Sample } from '../measure.js';
import type { ModelName } from '../model/models.js';
import { quantile, ratios, spread, sum, type Spread } from '../statistics.js';
import type { Load } from './plan.js';
import type { Pairing } from './rounds.js';

/** A line of the table: medians of the rounds. Times are milliseconds. */
export interface Row {
  readonly model: ModelName;
  readonly streams: number;
  /** Tokens of each reply. */
  readonly tokens: number;
  readonly target: string;
  readonly eventsPerSecond: Spread;
  /** The event rate as a share of the direct one of the same round; undefined for the direct one itself. */
  readonly ofDirect: Spread | undefined;
  /** How much later the first token comes than directly, p50, round by round. */
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

/** The direct line, of all rounds of all pairs, and a line for each target. */
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
