import type { RequestHandler } from 'express';
import { LMServError } from '../errors.js';
import { within } from '../time.js';
import { contextOf, type RequestContext } from './context.js';

/** Max time for requests ended by a shutdown to notify their clients, milliseconds. */
const ENDING_MS = 1_000;

/** The generating requests being served: a shutdown refuses new ones and waits for these. */
export class InFlight {
  readonly #open = new Set<RequestContext>();
  #draining = false;
  #onEmpty: (() => void) | undefined;

  get draining(): boolean {
    return this.#draining;
  }

  /** Middleware of generating routes: 503 `draining` once a shutdown has begun. */
  readonly track: RequestHandler = (_request, response, next) => {
    if (this.#draining) {
      response.setHeader('Connection', 'close');
      throw new LMServError('draining');
    }
    const context = contextOf(response);
    this.#open.add(context);
    response.once('close', () => {
      this.#open.delete(context);
      if (this.#open.size === 0) this.#onEmpty?.();
    });
    next();
  };

  /**
   * Refuses new work from now on and resolves when the last request is done. Requests that remain after `graceMs` are
   * aborted and have one more second to end.
   */
  async drain(graceMs: number): Promise<void> {
    this.#draining = true;
    if (this.#open.size === 0) return;
    const empty = new Promise<void>((resolve) => (this.#onEmpty = resolve));
    await within(graceMs, empty);
    for (const context of this.#open) context.abort(new LMServError('draining'));
    await within(ENDING_MS, empty);
  }
}
