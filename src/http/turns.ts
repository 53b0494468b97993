import type { RequestHandler } from 'express';

/** Once work in turns has taken so long, milliseconds, what else is due waits for the next iteration of the event loop. */
const BUDGET_MS = 10;

/**
 * Spreads work over iterations of the event loop. Each piece may be bearable, but a client can have dozens of them fall
 * due in one iteration, by pipelining or by bodies that end together, and nothing else runs meanwhile. Work runs at once
 * while there is time left in this iteration, which is nearly always, and else in the order in which it came.
 */
export class Turns {
  readonly #now: () => number;
  readonly #waiting: (() => void)[] = [];
  /** When the first piece of this iteration began; undefined before there was one. */
  #began: number | undefined;

  /** @param now monotonic, milliseconds. */
  constructor(now = () => performance.now()) {
    this.#now = now;
  }

  /** Runs `work` now or in a later iteration; it must not throw. */
  take(work: () => void): void {
    if (this.#began === undefined && this.#waiting.length === 0) setImmediate(this.#runWaiting);
    if (this.#waiting.length > 0 || !this.#hasTime()) this.#waiting.push(work);
    else work();
  }

  /** Lets a request wait for its turn; one whose client has gone meanwhile is dropped. */
  readonly wait: RequestHandler = (_request, response, next) =>
    this.take(() => {
      if (!response.destroyed) next();
    });

  /** Comes after all sockets were read, and before the next iteration's timers: the two share one budget. */
  readonly #runWaiting = (): void => {
    let done = 0;
    while (done < this.#waiting.length && this.#hasTime()) this.#waiting[done++]!();
    this.#waiting.splice(0, done);
    this.#began = undefined;
    if (this.#waiting.length > 0) setImmediate(this.#runWaiting);
  };

  #hasTime(): boolean {
    const now = this.#now();
    this.#began ??= now;
    return now - this.#began < BUDGET_MS;
  }
}
