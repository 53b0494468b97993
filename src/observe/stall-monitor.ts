export interface StallMonitorOptions {
  /**
   * Called after the event loop was blocked for more than a second.
   *
   * @param ms an upper bound of the time, milliseconds.
   * @param routes patterns of the routes of open requests, with nothing that a client sent.
   */
  readonly onStall: (ms: number, routes: readonly string[]) => void;
  /** Monotonic, milliseconds. */
  readonly now?: () => number;
}

/** More than this between two ticks is a stall, milliseconds. */
const STALL_MS = 1_000;

/** Five wake-ups a second cost an idle server about 0.01 % of a core. Milliseconds. */
const TICK_MS = 200;

/** Detects when the event loop is blocked, so that no request is served. */
export class StallMonitor {
  readonly #onStall: StallMonitorOptions['onStall'];
  readonly #now: () => number;
  readonly #open = new Set<() => string>();
  /** Routes of requests that ended since the last tick: the one that stalls the loop may end before the timer runs. */
  readonly #ended = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #last = 0;

  constructor({ onStall, now = () => performance.now() }: StallMonitorOptions) {
    this.#onStall = onStall;
    this.#now = now;
  }

  start(): void {
    this.#last = this.#now();
    this.#timer ??= setInterval(() => this.#tick(), TICK_MS).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /**
   * A request has begun.
   *
   * @param route finds its route; called only when needed, because the route is not matched yet.
   * @returns a function to call when the request has ended.
   */
  readonly requestBegan = (route: () => string): (() => void) => {
    this.#open.add(route);
    return () => {
      this.#open.delete(route);
      this.#ended.add(route());
    };
  };

  #tick(): void {
    const now = this.#now();
    const ms = now - this.#last;
    this.#last = now;
    if (ms > STALL_MS) this.#onStall(ms, this.#routes());
    this.#ended.clear();
  }

  #routes(): string[] {
    return [...new Set([...this.#ended, ...Array.from(this.#open, (route) => route())])].sort();
  }
}
