/** Weight of the latest request in the running mean. */
const WEIGHT = 0.2;

/** Cap on Retry-After, seconds; longer estimates are not useful. */
const MAX_WAIT_SECONDS = 300;

/** The mean time that requests hold a slot, to estimate how long others will wait. Pure. */
export class ServiceTime {
  #meanMs: number | undefined;

  /** Records how long a slot was held, milliseconds. */
  note(ms: number): void {
    this.#meanMs = this.#meanMs === undefined ? ms : this.#meanMs + WEIGHT * (ms - this.#meanMs);
  }

  /**
   * Estimates when the request at `position` gets one of `slots` that exist after `loadMs`, in seconds: at least 1, and
   * without any record only what the load takes.
   */
  waitFor(position: number, slots: number, loadMs = 0): number {
    const waitMs = this.#meanMs === undefined || slots === 0 ? 0 : (this.#meanMs * position) / slots;
    const seconds = (loadMs + waitMs) / 1000;
    return Math.min(MAX_WAIT_SECONDS, Math.max(1, Math.ceil(seconds)));
  }
}
