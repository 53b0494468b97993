/** How often a request is sent again. */
export interface RetryLimits {
  /** Further attempts after the first one; 0 never sends again. */
  readonly attempts: number;
  /** No attempt begins later than this after the first one began, milliseconds. */
  readonly budgetMs: number;
}

/** The longest wait before the first retry, milliseconds; it doubles with each. */
const FIRST_WAIT_MS = 200;
const LONGEST_WAIT_MS = 5_000;

/** Clients are told to wait for no longer than a day, whatever a server asks for. */
const MAX_RETRY_AFTER_MS = 86_400_000;

export interface Attempted {
  /** Attempts that have failed, 1 or more. */
  readonly failures: number;
  /** Since the first one began, milliseconds. */
  readonly elapsedMs: number;
  /** What the server asked for, milliseconds; undefined when it said nothing. */
  readonly retryAfterMs?: number | undefined;
}

/**
 * Milliseconds to wait before the next attempt, or undefined when there is to be none. Pure.
 *
 * Full jitter: anything from nothing to a bound that doubles, because clients that failed together must not come
 * again together. What the server asked for is waited for on top, and where that is longer than the budget the
 * request is not sent again: coming sooner would only fail again.
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
