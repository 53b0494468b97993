/** Clocks and time limits. Code whose time tests must control takes a `Clock` or an `After`. */

/** Runs `done` once after `ms` milliseconds; returns a function that cancels it. */
export type After = (ms: number, done: () => void) => () => void;

export interface Clock {
  /** Monotonic, milliseconds. */
  now(): number;
  readonly after: After;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  after: (ms, done) => {
    const timer = setTimeout(done, ms);
    return () => clearTimeout(timer);
  },
};

/** Settles as `promise` does, or resolves with undefined after `ms` milliseconds. */
export async function within<T>(
  ms: number,
  promise: Promise<T>,
  clock: Clock = systemClock,
): Promise<T | undefined> {
  let cancel!: () => void;
  const late = new Promise<undefined>((resolve) => {
    cancel = clock.after(ms, () => resolve(undefined));
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    cancel();
  }
}

/** Waits `ms` milliseconds. @throws the signal's reason when it aborts first. */
export function wait(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const onAbort = () => {
      cancel();
      reject(signal.reason as Error);
    };
    const cancel = clock.after(ms, () => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    });
    signal.addEventListener('abort', onAbort, { once: true });
  });
}
