import { LMServError } from '../errors.js';
import { systemClock, within, type Clock } from '../time.js';

/** Counts what runs on a backend, so that a backend that is stopped can let it finish. */
export class InUse {
  readonly #clock: Clock;
  #count = 0;
  #closed = false;
  #onIdle: (() => void) | undefined;

  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
  }

  /** Runs `task` and counts it while it runs, waiting for a slot included. @throws LMServError `draining` after `close`. */
  async during<T>(task: () => Promise<T>): Promise<T> {
    if (this.#closed) throw new LMServError('draining');
    this.#count += 1;
    try {
      return await task();
    } finally {
      this.#count -= 1;
      if (this.#count === 0) this.#onIdle?.();
    }
  }

  /** Refuses new tasks and resolves when the last one has ended, or after `graceMs` milliseconds. */
  async close(graceMs: number): Promise<void> {
    this.#closed = true;
    if (this.#count === 0 || graceMs <= 0) return;
    const idle = new Promise<void>((resolve) => (this.#onIdle = resolve));
    await within(graceMs, idle, this.#clock);
  }
}
