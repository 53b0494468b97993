import { UserError } from '../src/errors.js';
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { LoadJob, LoadResult } from './load/job.js';
import { cpuMs } from '../test/harness/processes.js';
import { quantile, sum } from './statistics.js';

/** The results of one job. Times are milliseconds. */
export interface Sample {
  readonly eventsPerSecond: number;
  readonly firstTokenP50: number;
  readonly firstTokenP99: number;
  readonly gapP50: number;
  readonly gapP99: number;
  readonly events: number;
  readonly errors: Readonly<Record<string, number>>;
  /** Whole replies. */
  readonly replies: number;
  /** Processor time of the watched processes. */
  readonly cpuMs: number;
}

/**
 * Runs a job on a server and measures its cost.
 *
 * @param pids processes whose processor time is measured
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

/** How many replies give at least so many events, the same number for each stream. */
export function repliesFor(streams: number, tokens: number, events: number): number {
  return streams * Math.max(1, Math.ceil(events / tokens / streams));
}

/** Puts load on a server from a separate process, so that other work does not delay its clock. */
export class LoadClient {
  readonly #process: ChildProcess;

  constructor() {
    this.#process = fork(fileURLToPath(new URL('load/main.js', import.meta.url)), {
      serialization: 'advanced',
    });
  }

  get pid(): number {
    return this.#process.pid!;
  }

  /**
   * Runs one job at a time.
   *
   * @throws the signal's reason; UserError if the client's process ends
   */
  async run(job: LoadJob, signal: AbortSignal): Promise<LoadResult> {
    signal.throwIfAborted();
    const over = new AbortController();
    const ended = once(this.#process, 'exit', { signal: over.signal }).then(() => {
      throw new UserError('the load client ended');
    });
    const result = once(this.#process, 'message', { signal: AbortSignal.any([signal, over.signal]) });
    try {
      this.#process.send(job);
      return ((await Promise.race([result, ended])) as [LoadResult])[0];
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    } finally {
      over.abort();
      await Promise.allSettled([result, ended]);
    }
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const exit = once(this.#process, 'exit');
    this.#process.kill('SIGKILL');
    await exit;
  }
}
