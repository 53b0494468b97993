/** Weight of the latest request in the running mean. */
const WEIGHT = 0.2;

/** Longest wait that is told, seconds: who comes later than that comes as well at another time. */
const LONGEST = 300;

/** How long requests hold a slot, to tell those that must wait for how long. Pure. */
export class ServiceTime {
  #meanMs: number | undefined;

  /** A slot was held for that long, milliseconds. */
  note(ms: number): void {
    this.#meanMs = this.#meanMs === undefined ? ms : this.#meanMs + WEIGHT * (ms - this.#meanMs);
  }

  /** Seconds until the request at that position gets one of `slots`, at least 1; 1 while nothing is known. */
  waitFor(position: number, slots: number): number {
    if (this.#meanMs === undefined || slots === 0) return 1;
    const seconds = (this.#meanMs * position) / slots / 1000;
    return Math.min(LONGEST, Math.max(1, Math.ceil(seconds)));
  }
}
