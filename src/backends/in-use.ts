import { LMServError } from '../errors.js';
import { systemClock, within, type Clock } from '../time.js';

/** Counts the tasks running on a backend, so that stopping it can let them finish. */
export class InUse {
  readonly #clock: Clock;
  #count = 0;
  #closed = false;
  #onIdle: (() => void) | undefined;

  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
  }

  /** Runs `task` and counts it until it ends, including its wait for a slot. @throws LMServError `draining` after `close`. */
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
