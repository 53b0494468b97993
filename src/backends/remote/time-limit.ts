import type { Clock } from './clock.js';

/**
 * A signal that aborts when its parent does or when an armed time has passed. `end` must be called, or the parent
 * keeps it alive.
 */
export class TimeLimit {
  readonly #controller = new AbortController();
  #disarm: (() => void) | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly parent: AbortSignal,
  ) {
    if (parent.aborted) this.#onParent();
    else parent.addEventListener('abort', this.#onParent);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Aborts with `reason` after `ms` milliseconds, unless armed anew or disarmed before. */
  arm(ms: number, reason: () => Error): void {
    this.disarm();
    this.#disarm = this.clock.after(ms, () => this.#controller.abort(reason()));
  }

  disarm(): void {
    this.#disarm?.();
    this.#disarm = undefined;
  }

  abort(reason: Error): void {
    this.disarm();
    this.#controller.abort(reason);
  }

  /** No longer needed: nothing aborts from now on. */
  end(): void {
    this.disarm();
    this.parent.removeEventListener('abort', this.#onParent);
  }

  readonly #onParent = (): void => {
    this.abort(this.parent.reason as Error);
  };
}
