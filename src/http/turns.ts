import type { Readable } from 'node:stream';
import type { RequestHandler } from 'express';

/** After this much work, milliseconds, further work waits for the next iteration of the event loop. */
const BUDGET_MS = 10;

/**
 * Spreads work over iterations of the event loop. A client can make dozens of pieces due in one iteration, by pipelining
 * or with bodies that end together, and they would block everything else. Work runs at once while there is time left in
 * the iteration, which is nearly always the case, and otherwise in order of arrival.
 */
export class Turns {
  readonly #now: () => number;
  readonly #waiting: (() => void)[] = [];
  /** When the first piece of this iteration began; undefined before that. */
  #began: number | undefined;

  /** @param now monotonic, milliseconds. */
  constructor(now = () => performance.now()) {
    this.#now = now;
  }

  /** Runs `work` now or in a later iteration; it must not throw. */
  take(work: () => void): void {
    this.#begin();
    if (this.#waiting.length > 0 || !this.#hasTime()) this.#waiting.push(work);
    else work();
  }

  /** Holds a source back until the next iteration if the time of this one is used up: bytes that arrive are work too. */
  pace(source: Pick<Readable, 'pause' | 'resume'>): void {
    this.#begin();
    if (this.#hasTime()) return;
    source.pause();
    setImmediate(() => source.resume());
  }

  /** Makes a request wait for its turn; it is dropped if its client disconnects meanwhile. */
  readonly wait: RequestHandler = (_request, response, next) =>
    this.take(() => {
      if (!response.destroyed) next();
    });

  #begin(): void {
    if (this.#began === undefined && this.#waiting.length === 0) setImmediate(this.#runWaiting);
  }

  /** Runs after all sockets were read and before the next iteration's timers; both share one budget. */
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
