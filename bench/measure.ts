import type { LoadClient } from './load/client.js';
import type { LoadJob } from './load/job.js';
import { cpuMs } from './proc.js';
import { quantile, sum } from './statistics.js';

/** What one job showed. Times are milliseconds. */
export interface Sample {
  readonly eventsPerSecond: number;
  readonly firstTokenP50: number;
  readonly firstTokenP99: number;
  readonly gapP50: number;
  readonly gapP99: number;
  readonly events: number;
  readonly errors: Readonly<Record<string, number>>;
  /** Replies that came whole. */
  readonly replies: number;
  /** Processor time of the watched processes. */
  readonly cpuMs: number;
}

/**
 * Puts a job on a server and watches what it costs.
 *
 * @param pids processes whose processor time is wanted
 * @throws as LoadClient.run
 */
export async function measure(
  client: LoadClient,
  job: LoadJob,
  pids: readonly number[],
  signal: AbortSignal,
): Promise<Sample> {
  const before = cpuMs(pids);
  const result = await client.run(job, signal);
  return {
    eventsPerSecond: (result.events * 1000) / result.wallMs,
    firstTokenP50: quantile(result.firstTokenMs, 0.5),
    firstTokenP99: quantile(result.firstTokenMs, 0.99),
    gapP50: quantile(result.gapMs, 0.5),
    gapP99: quantile(result.gapMs, 0.99),
    events: result.events,
    errors: result.errors,
    replies: result.replies,
    cpuMs: cpuMs(pids) - before,
  };
}

export const errorCount = ({ errors }: Sample): number => sum(Object.values(errors));

/** Processor time of the watched processes for each token, microseconds. The kernel counts in steps of 10 ms. */
export const cpuPerToken = ({ cpuMs, events }: Sample): number => (cpuMs * 1000) / events;

/** The same for each request, milliseconds. */
export const cpuPerRequest = ({ cpuMs, replies }: Sample): number => cpuMs / replies;

/** How many replies a measurement takes: at least so many events in all, and the same number for each stream. */
export function repliesFor(streams: number, tokens: number, events: number): number {
  return streams * Math.max(1, Math.ceil(events / tokens / streams));
}
