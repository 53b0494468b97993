/** Fruitless exits within the window that make a crash loop. */
const LOOP_EXITS = 5;
/** Milliseconds. */
const LOOP_WINDOW_MS = 30_000;
const FIRST_DELAY_MS = 250;
const LONGEST_DELAY_MS = 30_000;
/** So long without an exit is the end of a crash loop too, when nobody asked for anything meanwhile. Milliseconds. */
const QUIET_MS = 5 * 60_000;

/**
 * Decides how long to wait before a dead worker is replaced. Pure: clock and randomness are handed in.
 *
 * An exit is fruitless when the worker had served nothing since its start. A worker that served and is then killed
 * is replaced at once, however often that happens; five fruitless exits in 30 s are a crash loop, after which each
 * further attempt waits longer, from 0.25 s to 30 s with jitter, until one serves again.
 */
export class RestartPolicy {
  #fruitless: number[] = [];
  #level = 0;
  #lastExit = -Infinity;

  constructor(private readonly random: () => number = Math.random) {}

  /** In a crash loop: who would have to wait for a worker is told so at once. */
  get open(): boolean {
    return this.#level > 0;
  }

  /** A worker is gone; returns the delay before its successor starts, milliseconds. */
  exited(now: number, served: boolean): number {
    if (served) return 0;
    if (now - this.#lastExit > QUIET_MS) this.#level = 0;
    this.#lastExit = now;
    this.#fruitless = [...this.#fruitless.filter((at) => now - at < LOOP_WINDOW_MS), now];
    if (this.#level === 0 && this.#fruitless.length < LOOP_EXITS) return 0;
    const delay = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** this.#level);
    this.#level += 1;
    return delay * (0.5 + this.random() / 2);
  }

  /** A worker finished a request: the loop is over. */
  served(): void {
    this.#fruitless = [];
    this.#level = 0;
  }
}
