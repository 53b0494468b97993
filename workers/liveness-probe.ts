import { setTimeout as pause } from 'node:timers/promises';
import type { ModelTask } from '../src/contract.js';
import { LMServError } from '../src/errors.js';
import type { Endpoint } from './options.js';
import { fetchJson } from './child-http.js';

export interface LivenessProbeOptions {
  /** Max time for a reply, milliseconds. */
  readonly timeoutMs: number;
  readonly task?: ModelTask | undefined;
  /** The worker became suspect, or no longer is. */
  readonly onChange: () => void;
  /** The worker has missed three checks in a row. */
  readonly onLost: () => void;
}

/** Number of missed checks in a row after which a worker is lost. */
const MAX_MISSES = 3;

/** The smallest complete request of each task: one token, nothing of which is cached. */
const REQUESTS: Readonly<Record<ModelTask, { readonly path: string; readonly body: object }>> = {
  chat: { path: '/completion', body: { prompt: ' ', n_predict: 1, cache_prompt: false } },
  embed: { path: '/v1/embeddings', body: { input: '.' } },
  rerank: { path: '/v1/rerank', body: { query: '.', documents: ['.'] } },
};

/** Checks whether an idle worker still works: by its health route, or by one token if that is in doubt. */
export class LivenessProbe {
  readonly #options: LivenessProbeOptions;
  #misses = 0;
  #suspected = false;
  #running = false;
  readonly #ended = new AbortController();

  constructor(options: LivenessProbeOptions) {
    this.#options = options;
  }

  get suspected(): boolean {
    return this.#suspected;
  }

  suspect(): void {
    if (this.#suspected) return;
    this.#suspected = true;
    this.#options.onChange();
  }

  /**
   * Checks the worker until it replies or has missed three checks. Does nothing while a check is running.
   *
   * @param requireToken requests one token instead of the health route.
   */
  async check(endpoint: Endpoint, requireToken: boolean): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    try {
      for (;;) {
        const withToken = requireToken || this.#suspected;
        const replied = await this.#request(endpoint, withToken);
        if (this.#ended.signal.aborted) return;
        // Health alone does not clear a worker that became suspect in the meantime.
        if (replied && (withToken || !this.#suspected)) return this.#clear();
        if (replied) continue;
        this.#misses += 1;
        if (this.#misses >= MAX_MISSES) return this.#options.onLost();
        this.suspect();
      }
    } finally {
      this.#running = false;
    }
  }

  /** Ends the checks, because the process has exited. */
  end(): void {
    this.#ended.abort();
  }

  async #request(endpoint: Endpoint, withToken: boolean): Promise<boolean> {
    const ended = this.#ended.signal;
    const timeout = pause(this.#options.timeoutMs, false, { signal: ended, ref: false }).catch(() => false);
    const request = new AbortController();
    const { path, body } = REQUESTS[this.#options.task ?? 'chat'];
    const response = withToken
      ? fetchJson(endpoint, 'POST', path, JSON.stringify(body), request.signal)
      : fetchJson(endpoint, 'GET', '/health', undefined, request.signal);
    const outcome = response.then(
      () => true,
      // LMServ's own lack of descriptors says nothing about the worker. A refused connection may mean that the process
      // is just exiting: wait the full timeout before counting a miss.
      (error) => error instanceof LMServError || timeout,
    );
    const replied = await Promise.race([outcome, timeout]);
    request.abort();
    return replied;
  }

  #clear(): void {
    this.#misses = 0;
    if (!this.#suspected) return;
    this.#suspected = false;
    this.#options.onChange();
  }
}
