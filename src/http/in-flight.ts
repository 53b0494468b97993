import type { RequestHandler } from 'express';
import { LMServError } from '../errors.js';
import { contextOf, type RequestContext } from './context.js';

/** How long requests that were ended by a shutdown may take to tell their clients, milliseconds. */
const ENDING_MS = 1_000;

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

  /**
   * Refuses new work from now on and resolves when the last request is done. Those that are left after `graceMs` are
   * ended; one that does not end within another second is not waited for.
   */
  async drain(graceMs: number): Promise<void> {
    this.#draining = true;
    if (this.#open.size === 0) return;
    const empty = new Promise<void>((resolve) => (this.#onEmpty = resolve));
    await atMost(graceMs, empty);
    for (const context of this.#open) context.abort(new LMServError('draining'));
    await atMost(ENDING_MS, empty);
  }
}

/** Resolves with `done`, or after so many milliseconds without it. */
async function atMost(ms: number, done: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, ms)));
  await Promise.race([done, late]);
  clearTimeout(timer);
}
