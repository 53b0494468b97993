import type { Clock } from '../../time.js';

/**
 * A signal that aborts when its parent does or when an armed time has passed. `end` must be called, or the parent keeps
 * it alive. Arming again is cheap, because it happens once per token: the running timer is kept and checks the new
 * deadline when it fires.
 */
export class TimeLimit {
  readonly #clock: Clock;
  readonly #parent: AbortSignal;
  readonly #controller = new AbortController();
  #deadline = Infinity;
  #reason: (() => Error) | undefined;
  /** When the running timer fires. */
  #firesAt = Infinity;
  #cancel: (() => void) | undefined;

  constructor(clock: Clock, parent: AbortSignal) {
    this.#clock = clock;
    this.#parent = parent;
    if (parent.aborted) this.#onParent();
    else parent.addEventListener('abort', this.#onParent);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Aborts with `reason` after `ms` milliseconds, unless armed again or disarmed before. */
  arm(ms: number, reason: () => Error): void {
    this.#deadline = this.#clock.now() + ms;
    this.#reason = reason;
    if (this.#firesAt <= this.#deadline) return;
    this.#cancel?.();
    this.#schedule(ms);
  }

  disarm(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#firesAt = Infinity;
  }

  abort(reason: Error): void {
    this.disarm();
    this.#controller.abort(reason);
  }

  /** Ends the limit; nothing aborts from now on. */
  end(): void {
    this.disarm();
    this.#parent.removeEventListener('abort', this.#onParent);
  }

  #schedule(ms: number): void {
    this.#firesAt = this.#clock.now() + ms;
    this.#cancel = this.#clock.after(ms, () => {
      this.#firesAt = Infinity;
      const remaining = this.#deadline - this.#clock.now();
      if (remaining > 0) this.#schedule(remaining);
      else this.#controller.abort(this.#reason!());
    });
  }

  readonly #onParent = (): void => {
    this.abort(this.#parent.reason as Error);
  };
}
