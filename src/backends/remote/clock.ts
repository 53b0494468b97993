/** Time as a remote backend sees it; tests hand in one that they move themselves. */
export interface Clock {
  /** Milliseconds of a clock that never jumps. */
  now(): number;
  /** Runs `done` once after `ms` milliseconds. @returns calls it off. */
  after(ms: number, done: () => void): () => void;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  after: (ms, done) => {
    const timer = setTimeout(done, ms);
    return () => clearTimeout(timer);
  },
};

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
