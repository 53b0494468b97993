import { randomUUID } from 'node:crypto';
import type { RequestHandler, Response } from 'express';
import type { Caller, Trace } from '../contract.js';
import type { LMServError } from '../errors.js';
import { newTrace } from '../generate/trace.js';
import { closeWithConnection } from './connection-end.js';

/** What is known of one HTTP request while it is served; lives in `response.locals.context`. */
export interface RequestContext {
  readonly requestId: string;
  /** `performance.now()` at its start. */
  readonly began: number;
  readonly trace: Trace;
  /** Aborts when the client has gone before its reply was finished, or by `abort`. */
  readonly signal: AbortSignal;
  /** Ends the generation from our side; an LMServError as reason is told to the client. */
  readonly abort: (reason: LMServError) => void;
  /** The request went to a route that generates. */
  generated: boolean;
  /** Who pays for it; known once it was admitted. */
  tenant?: string;
  error?: LMServError;
}

/** Gives each request its id and its abort signal. */
export const requestContext: RequestHandler = (_request, response, next) => {
  const gone = new AbortController();
  const context: RequestContext = {
    requestId: randomUUID(),
    began: performance.now(),
    trace: newTrace(),
    signal: gone.signal,
    abort: (reason) => gone.abort(reason),
    generated: false,
  };
  response.locals.context = context;
  response.setHeader('x-request-id', context.requestId);
  closeWithConnection(response);
  response.once('close', () => {
    if (!response.writableFinished) gone.abort(new DOMException('the client has gone', 'AbortError'));
  });
  next();
};

export function contextOf(response: Response): RequestContext {
  return response.locals.context as RequestContext;
}

export function callerOf(response: Response): Caller {
  return response.locals.caller as Caller;
}
