/** Number of fruitless exits within the window that make a crash loop. */
const LOOP_EXITS = 5;
/** Milliseconds. */
const LOOP_WINDOW_MS = 30_000;
const MIN_DELAY_MS = 250;
const MAX_DELAY_MS = 30_000;
/** A crash loop also ends after this time without an exit, in case no request comes. Milliseconds. */
const QUIET_MS = 5 * 60_000;

/**
 * Decides how long to wait before a dead worker is replaced. Pure: clock and randomness are passed in.
 *
 * An exit is fruitless when the worker had served nothing since its start. A worker that has served is replaced at once,
 * however often workers are killed. Five fruitless exits in 30 s are a crash loop: each further attempt then waits
 * longer, from 0.25 s to 30 s with jitter, until a worker serves again.
 */
export class RestartPolicy {
  readonly #random: () => number;
  #fruitless: number[] = [];
  #level = 0;
  #lastExit = -Infinity;

  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  /** True during a crash loop; requests then fail fast instead of waiting. */
  get open(): boolean {
    return this.#level > 0;
  }

  /** Records that a worker exited; returns the delay before its successor starts, milliseconds. */
  exited(now: number, served: boolean): number {
    if (served) return 0;
    if (now - this.#lastExit > QUIET_MS) this.#level = 0;
    this.#lastExit = now;
    this.#fruitless = [...this.#fruitless.filter((at) => now - at < LOOP_WINDOW_MS), now];
    if (this.#level === 0 && this.#fruitless.length < LOOP_EXITS) return 0;
    const delay = Math.min(MAX_DELAY_MS, MIN_DELAY_MS * 2 ** this.#level);
    this.#level += 1;
    return delay * (0.5 + this.#random() / 2);
  }

  /** Records that a worker finished a request, which ends a crash loop. */
  served(): void {
    this.#fruitless = [];
    this.#level = 0;
  }
}
