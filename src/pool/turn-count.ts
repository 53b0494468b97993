/**
 * Counts the waiting jobs of each caller, to compute how many run before a caller's k-th job when all callers take
 * turns. A Fenwick tree: changes and sums are both logarithmic. Pure.
 */
export class TurnCount {
  /** Sums over the number of callers that have at least 1, 2, 3… jobs. */
  readonly #tree = [0];

  /** Records that a caller's number of jobs has grown by one to `jobs`. */
  grew(jobs: number): void {
    this.#add(jobs, 1);
  }

  /** Records that a caller's number of jobs has shrunk by one from `jobs`. */
  shrank(jobs: number): void {
    this.#add(jobs, -1);
  }

  /** The number of jobs run in the first `turns` turns; in a turn, every caller with waiting jobs runs one. */
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
