/** How often a request is retried. */
export interface RetryLimits {
  /** Attempts after the first one; 0 disables retries. */
  readonly attempts: number;
  /** Max time from the first attempt to the start of the last one, milliseconds. */
  readonly budgetMs: number;
}

/** Max wait before the first retry, milliseconds; doubles with each retry. */
const FIRST_WAIT_MS = 200;
const LONGEST_WAIT_MS = 5_000;

/** Max Retry-After that clients receive, whatever a server requests: one day. */
const MAX_RETRY_AFTER_MS = 86_400_000;

export interface Attempted {
  /** Attempts that have failed, 1 or more. */
  readonly failures: number;
  /** Time since the first attempt began, milliseconds. */
  readonly elapsedMs: number;
  /** The delay that the server requested, milliseconds; undefined if it did not. */
  readonly retryAfterMs?: number | undefined;
}

/**
 * Milliseconds to wait before the next attempt, or undefined if there should be none. Pure.
 *
 * Full jitter: a random wait up to a bound that doubles, so that clients that failed together do not retry together.
 * A delay that the server requested is added. If that exceeds the budget the request is not retried, because retrying
 * sooner would only fail again.
 */
export function retryWait(
  { failures, elapsedMs, retryAfterMs = 0 }: Attempted,
  limits: RetryLimits,
  random: () => number,
): number | undefined {
  if (failures > limits.attempts) return undefined;
  const bound = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (failures - 1));
  const wait = retryAfterMs + random() * bound;
  return elapsedMs + wait <= limits.budgetMs ? wait : undefined;
}

/**
 * Reads `Retry-After` (seconds or a date) or OpenAI's `retry-after-ms`, milliseconds from now, a day at most.
 *
 * @param now Unix time, milliseconds.
 */
export function readRetryAfter(
  header: (name: string) => string | undefined,
  now: number,
): number | undefined {
  const text = header('retry-after');
  const date = text === undefined ? NaN : Date.parse(text) - now;
  const ms = plainNumber(header('retry-after-ms')) ?? (plainNumber(text) ?? NaN) * 1000;
  const wait = Number.isNaN(ms) ? date : ms;
  return Number.isNaN(wait) ? undefined : Math.min(Math.max(0, wait), MAX_RETRY_AFTER_MS);
}

function plainNumber(text: string | undefined): number | undefined {
  return text !== undefined && /^\s*\d{1,9}(\.\d+)?\s*$/.test(text) ? Number(text) : undefined;
}
