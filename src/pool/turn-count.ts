/**
 * How many jobs each caller has waiting, to tell how many run before the k-th of a caller when all take turns.
 * A Fenwick tree: both changes and sums are logarithmic. Pure.
 */
export class TurnCount {
  /** Sums over the number of callers that have at least 1, 2, 3… jobs. */
  readonly #tree = [0];

  /** A caller's jobs have become `jobs`, one more than before. */
  grew(jobs: number): void {
    this.#add(jobs, 1);
  }

  /** A caller's jobs have become one fewer than `jobs`. */
  shrank(jobs: number): void {
    this.#add(jobs, -1);
  }

  /** How many jobs are run in the first `turns` turns, each turn being one job of every caller that has one left. */
  within(turns: number): number {
    let sum = 0;
    for (let i = Math.min(turns, this.#tree.length - 1); i > 0; i -= i & -i) sum += this.#tree[i]!;
    return sum;
  }

  #add(position: number, change: number): void {
    while (this.#tree.length <= position) {
      const next = this.#tree.length;
      this.#tree.push(this.within(next - 1) - this.within(next - (next & -next)));
    }
    for (let i = position; i < this.#tree.length; i += i & -i) this.#tree[i]! += change;
  }
}
