import type { TokenGaps } from '../contract.js';

/**
 * Upper bounds of the buckets, milliseconds; one more bucket holds what is longer. Narrow where people tell a difference,
 * 10 to 250 ms; the longest are pauses in which a reply changes its worker.
 */
export const GAP_BOUNDS_MS: readonly number[] = [
  1, 2.5, 5, 10, 15, 25, 40, 60, 100, 150, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000,
];

/**
 * Counts the times between the tokens of one generation. It works for every token of every reply, so it touches nothing
 * but its own few numbers; a histogram takes them over when the reply has ended.
 */
export class GapCounter implements TokenGaps {
  readonly counts = new Uint32Array(GAP_BOUNDS_MS.length + 1);
  sumMs = 0;
  /** By choice: when its last token came. */
  readonly #last: number[] = [];

  /** A token of a choice came at `now`, which is of `performance.now()`. */
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
