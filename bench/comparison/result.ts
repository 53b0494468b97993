import { cpuPerEvent, errorCount, type Sample } from '../measure.js';
import type { ModelName } from '../model/models.js';
import { quantile, ratios, spread, sum, type Spread } from '../statistics.js';
import type { Pairing } from './rounds.js';

/** A line of the table: medians of the rounds. Times are milliseconds. */
export interface Row {
  readonly model: ModelName;
  readonly streams: number;
  readonly target: string;
  readonly eventsPerSecond: Spread;
  /** The event rate as a share of the direct one of the same round; undefined for the direct one itself. */
  readonly ofDirect: Spread | undefined;
  /** Event rates, round by round. */
  readonly rates: readonly number[];
  readonly firstTokenP50: number;
  readonly firstTokenP99: number;
  readonly gapP50: number;
  readonly gapP99: number;
  /** Microseconds of processor time of what stands between, an event. */
  readonly cpuPerEvent: number;
  /** The same of the load client. */
  readonly clientCpuPerEvent: number;
  readonly events: number;
  readonly errors: number;
  /** What the errors were. */
  readonly reasons: readonly string[];
}

const rate = ({ eventsPerSecond }: Sample): number => eventsPerSecond;

/** The direct line, of all rounds of all pairs, and a line for each target. */
export function rowsOf(model: ModelName, streams: number, pairings: readonly Pairing[]): Row[] {
  const direct = pairings.flatMap(({ beside }) => beside);
  return [
    { model, streams, target: 'direct', ofDirect: undefined, ...summary(direct) },
    ...pairings.map(({ target, samples, beside }) => ({
      ...{ model, streams, target: target.name },
      ofDirect: spread(ratios(samples.map(rate), beside.map(rate))),
      ...summary(samples),
    })),
  ];
}

function summary(samples: readonly Sample[]): Omit<Row, 'model' | 'streams' | 'target' | 'ofDirect'> {
  const median = (pick: (sample: Sample) => number) => quantile(samples.map(pick), 0.5);
  const clients = samples.map((sample) => ({ ...sample, cpuMs: sample.clientCpuMs }));
  return {
    eventsPerSecond: spread(samples.map(rate)),
    rates: samples.map(rate),
    firstTokenP50: median((sample) => sample.firstTokenP50),
    firstTokenP99: median((sample) => sample.firstTokenP99),
    gapP50: median((sample) => sample.gapP50),
    gapP99: median((sample) => sample.gapP99),
    cpuPerEvent: cpuPerEvent(samples),
    clientCpuPerEvent: cpuPerEvent(clients),
    events: sum(samples.map(({ events }) => events)),
    errors: sum(samples.map(errorCount)),
    reasons: [...new Set(samples.flatMap(({ errors }) => Object.keys(errors)))],
  };
}
