import type { RequestHandler, Response } from 'express';
import { LMServError } from '../errors.js';
import { callerOf } from './context.js';

/** Bytes of all bodies under way; in memory each is a few times as large. */
const MIN_TOTAL = 67_108_864;

/**
 * What the bodies of all requests under way may take together, from before they are read until their replies have
 * ended. Nobody holds more than half of it, so that one caller's uploads do not shut the others out.
 */
export class BodyBudget {
  readonly #total: number;
  #held = 0;
  readonly #ofCallers = new Map<string, number>();

  /** @param maxBytes of one body; two of them always fit. */
  constructor(
    private readonly maxBytes: number,
    minTotal = MIN_TOTAL,
  ) {
    this.#total = Math.max(minTotal, 2 * maxBytes);
  }

  /** Bytes held now. */
  get held(): number {
    return this.#held;
  }

  /** Sets aside what the body may come to; 503 `bodies_full` where that is too much, before anything is read. */
  readonly reserve: RequestHandler = (request, response, next) => {
    const { 'content-length': length, 'content-encoding': encoding = 'identity' } = request.headers;
    // Nobody knows beforehand what comes in chunks or is compressed.
    const bytes = length === undefined || encoding !== 'identity' ? this.maxBytes : Number(length);
    const caller = callerKey(response);
    const own = this.#ofCallers.get(caller) ?? 0;
    if (this.#held + bytes > this.#total || own + bytes > this.#total / 2)
      throw new LMServError('bodies_full');
    response.locals.bodyBytes = 0;
    this.#add(response, bytes);
    response.once('close', () => this.#add(response, -response.locals.bodyBytes));
    next();
  };

  /** Corrects what was set aside to the body's size, now that it is known. */
  settle(response: Response, bytes: number): void {
    if (!response.closed) this.#add(response, bytes - response.locals.bodyBytes);
  }

  #add(response: Response, bytes: number): void {
    const caller = callerKey(response);
    const own = (this.#ofCallers.get(caller) ?? 0) + bytes;
    this.#held += bytes;
    response.locals.bodyBytes += bytes;
    if (own === 0) this.#ofCallers.delete(caller);
    else this.#ofCallers.set(caller, own);
  }
}

function callerKey(response: Response): string {
  const { address, name } = callerOf(response);
  return address ?? name;
}
