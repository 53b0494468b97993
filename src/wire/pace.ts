/** Time that reading one stream may take without a break, milliseconds. */
const BUDGET_MS = 8;

/** Chunks that follow each other within this time come from one iteration of the event loop, milliseconds. */
const GAP_MS = 0.5;

/** A stream that can be paused. */
interface Pausable {
  pause(): unknown;
  resume(): unknown;
}

/**
 * Lets a stream rest until the next iteration of the event loop once reading it has taken too long. Node reads up to
 * 2 MiB of a fast peer in one iteration, and parsing that would hold up everything else.
 */
export class Pace {
  readonly #stream: Pausable;
  readonly #isHeld: () => boolean;
  #spentMs = 0;
  #endedAt = -Infinity;
  #resting = false;

  /** @param isHeld whether something else holds the stream, which must then stay paused. */
  constructor(stream: Pausable, isHeld: () => boolean) {
    this.#stream = stream;
    this.#isHeld = isHeld;
  }

  /** A chunk has been read. @param began when that began, of `performance.now()`. */
  note(began: number): void {
    if (began - this.#endedAt > GAP_MS) this.#spentMs = 0;
    this.#endedAt = performance.now();
    this.#spentMs += this.#endedAt - began;
    if (this.#spentMs > BUDGET_MS && !this.#resting) this.#rest();
  }

  #rest(): void {
    this.#resting = true;
    this.#stream.pause();
    setImmediate(() => {
      this.#resting = false;
      this.#spentMs = 0;
      if (!this.#isHeld()) this.#stream.resume();
    });
  }
}
