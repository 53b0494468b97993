/** When to retry, and how long to wait before. */
import { setTimeout as sleep } from 'node:timers/promises';
import { DownloadError } from './request.js';

const TRANSIENT_STATUSES = new Set([408, 425, 429, 500, 502, 503, 504]);
const LONGEST_WAIT_MS = 30_000;

export interface RetryOptions {
  /** Consecutive failures without a new byte in between after which to give up. */
  attempts: number;
  /** Wait before the second attempt, milliseconds; doubles for each further one. */
  backoffMs: number;
  signal: AbortSignal | undefined;
}

/** Whether a retry may help, as for broken connections and overloaded servers, but not a wrong address or a full disk. */
function isTransient(error: unknown): boolean {
  if (!(error instanceof DownloadError)) return false;
  if (error.code === 'network') return true;
  return error.code === 'http' && error.status !== undefined && TRANSIENT_STATUSES.has(error.status);
}

/**
 * Runs an attempt until it succeeds or fails for good.
 * @param attempt calls its argument when it made progress, which resets the count
 */
export async function withRetries<T>(
  options: RetryOptions,
  attempt: (progressed: () => void) => Promise<T>,
): Promise<T> {
  let failures = 0;
  for (;;) {
    try {
      return await attempt(() => (failures = 0));
    } catch (error) {
      options.signal?.throwIfAborted();
      failures += 1;
      if (!isTransient(error) || failures >= options.attempts) throw error;
      await pause(options.backoffMs * 2 ** (failures - 1), options.signal);
    }
  }
}

/** Waits with up to a quarter of jitter, so that many machines do not retry together. */
async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  const wait = Math.min(ms, LONGEST_WAIT_MS) * (1 + Math.random() / 4);
  await sleep(wait, undefined, signal ? { signal } : {}).catch((error: unknown) => {
    signal?.throwIfAborted();
    throw error;
  });
}
