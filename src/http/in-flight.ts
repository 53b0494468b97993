import type { RequestHandler } from 'express';
import { LMServError } from '../errors.js';
import { contextOf, type RequestContext } from './context.js';

/** Knows the generating requests being served, so that a shutdown can refuse new ones and wait for these. */
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

  /** Refuses new work from now on and resolves when the last request is done, or has been ended after `graceMs`. */
  async drain(graceMs: number): Promise<void> {
    this.#draining = true;
    if (this.#open.size === 0) return;
    const empty = new Promise<void>((resolve) => (this.#onEmpty = resolve));
    const timer = setTimeout(() => {
      for (const context of this.#open) context.abort(new LMServError('draining'));
    }, graceMs);
    await empty;
    clearTimeout(timer);
  }
}
