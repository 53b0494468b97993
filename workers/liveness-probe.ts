import { setTimeout as pause } from 'node:timers/promises';
import { LMServError } from '../src/errors.js';
import type { Endpoint } from './options.js';
import { fetchJson } from './child-http.js';

export interface CheckupOptions {
  /** Longest time for an answer, milliseconds. */
  readonly timeoutMs: number;
  /** The worker has come under suspicion or is cleared of it. */
  readonly onChange: () => void;
  /** It has missed three times in a row. */
  readonly onLost: () => void;
}

/** Misses in a row after which there is no hope. */
const MISSES = 3;

/** Smallest thing that goes the whole way: one token, and nothing of it kept. */
const PROBE = JSON.stringify({ prompt: ' ', n_predict: 1, cache_prompt: false });

/** Asks a worker that is not in use whether it still works: its health, or one token where that is what is in doubt. */
export class Checkup {
  #misses = 0;
  #suspected = false;
  #running = false;
  readonly #ended = new AbortController();

  constructor(private readonly options: CheckupOptions) {}

  get suspected(): boolean {
    return this.#suspected;
  }

  suspect(): void {
    if (this.#suspected) return;
    this.#suspected = true;
    this.options.onChange();
  }

  /** Asks, and asks on until there is an answer or three misses. One checkup runs at a time. */
  async run(endpoint: Endpoint, probe: boolean): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    try {
      for (;;) {
        const asksForToken = probe || this.#suspected;
        const answers = await this.#answers(endpoint, asksForToken);
        if (this.#ended.signal.aborted) return;
        // One that came under suspicion meanwhile is not cleared of it by its health.
        if (answers && (asksForToken || !this.#suspected)) return this.#clear();
        if (answers) continue;
        this.#misses += 1;
        if (this.#misses >= MISSES) return this.options.onLost();
        this.suspect();
      }
    } finally {
      this.#running = false;
    }
  }

  /** The process is gone: there is nobody to ask. */
  end(): void {
    this.#ended.abort();
  }

  async #answers(endpoint: Endpoint, probe: boolean): Promise<boolean> {
    const ended = this.#ended.signal;
    const limit = pause(this.options.timeoutMs, false, { signal: ended, ref: false }).catch(() => false);
    const asking = new AbortController();
    const asked = probe
      ? fetchJson(endpoint, 'POST', '/completion', PROBE, asking.signal)
      : fetchJson(endpoint, 'GET', '/health', undefined, asking.signal);
    // A miss takes its whole time: a connection that is refused may be that of a process about to be gone.
    const answered = asked.then(
      () => true,
      // That we have no descriptor to ask with says nothing about the worker.
      (error) => error instanceof LMServError || limit,
    );
    const answers = await Promise.race([answered, limit]);
    asking.abort();
    return answers;
  }

  #clear(): void {
    this.#misses = 0;
    if (!this.#suspected) return;
    this.#suspected = false;
    this.options.onChange();
  }
}
