import type { TokenGaps } from '../contract.js';

/**
 * Upper bounds of the buckets, milliseconds; one more bucket holds longer gaps. They are narrow where people notice a
 * difference, from 10 to 250 ms; the longest gaps are those in which a reply changes its worker.
 */
export const GAP_BOUNDS_MS: readonly number[] = [
  1, 2.5, 5, 10, 15, 25, 40, 60, 100, 150, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000,
];

/**
 * Counts the times between the tokens of one generation. It runs for every token of every reply, so it only updates a
 * few numbers, which a histogram takes over when the reply has ended.
 */
export class GapCounter implements TokenGaps {
  readonly counts = new Uint32Array(GAP_BOUNDS_MS.length + 1);
  sumMs = 0;
  /** Time of the last token, by choice. */
  readonly #last: number[] = [];

  /** A token of a choice arrived at `now`, a time of `performance.now()`. */
  note(choice: number, now: number): void {
    const last = this.#last[choice];
    this.#last[choice] = now;
    if (last !== undefined) this.#count(now - last);
  }

  #count(ms: number): void {
    let bucket = 0;
    while (bucket < GAP_BOUNDS_MS.length && ms > GAP_BOUNDS_MS[bucket]!) bucket += 1;
    this.counts[bucket]! += 1;
    this.sumMs += ms;
  }
}
