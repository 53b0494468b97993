import { randomUUID } from 'node:crypto';
import type { RequestHandler, Response } from 'express';
import type { Caller, Trace } from '../contract.js';
import { compact } from '../dialects/shared/fields.js';
import type { LMServError } from '../errors.js';
import { newTrace } from '../generate/trace.js';
import { closeWithConnection } from './server.js';

/** What is known of one HTTP request while it is served. */
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
  /** Pays for the request; known once it was admitted. */
  tenant?: string;
  error?: LMServError;
}

/** Gives each request its id and its abort signal. */
export const requestContext: RequestHandler = (request, response, next) => {
  // Node reads on in what it had received when the connection was closed for sending too many requests.
  if (request.socket.destroyed) return;
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

declare module 'express-serve-static-core' {
  interface Locals {
    context: RequestContext;
    /** Absent until the request is authenticated. */
    caller?: Caller;
    /** What the body budget has set aside. */
    bodyBytes: number;
  }
}

export function contextOf(response: Response): RequestContext {
  return response.locals.context;
}

/** The caller of an authenticated request. */
export function callerOf(response: Response): Caller {
  return response.locals.caller!;
}

/** What tells callers apart for limits: the address if there is no key. */
export function callerKey(response: Response): string {
  const { address, name } = callerOf(response);
  return address ?? name;
}

/** How long the request waited for a slot, and its place in the queue if it had to wait. */
export function queueHeaders(response: Response): Record<string, string> {
  const { queueMs, queuePosition } = contextOf(response).trace;
  return compact({ 'X-Queue-Time-Ms': queueMs?.toFixed(1), 'X-Queue-Position': queuePosition?.toString() });
}
