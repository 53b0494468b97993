import type { After } from '../time.js';

/** A signal with a time limit. `clear` must be called. */
export interface Deadline {
  readonly signal: AbortSignal;
  /** Cancels the time limit. */
  readonly clear: () => void;
}

/** Aborts as `signal` does, or with `reason` after `ms` milliseconds; without `ms` this is `signal` itself. */
export function deadline(
  signal: AbortSignal,
  ms: number | undefined,
  reason: (ms: number) => Error,
  after: After,
): Deadline {
  if (ms === undefined) return { signal, clear: () => undefined };
  const over = new AbortController();
  const clear = after(ms, () => over.abort(reason(ms)));
  return { signal: AbortSignal.any([signal, over.signal]), clear };
}
