import { randomUUID } from 'node:crypto';
import type { RequestHandler, Response } from 'express';
import type { Caller, Trace } from '../contract.js';
import { compact } from '../compact.js';
import type { LMServError } from '../errors.js';
import { newTrace } from '../generate/trace.js';

/** State of one HTTP request while it is served. */
export interface RequestContext {
  readonly requestId: string;
  /** `performance.now()` at its start. */
  readonly began: number;
  readonly trace: Trace;
  /** Aborts when the client disconnects before its reply is finished, or through `abort`. */
  readonly signal: AbortSignal;
  /** Ends the generation; the client receives an LMServError. */
  readonly abort: (reason: unknown) => void;
  /** The request went to a route that generates. */
  generated: boolean;
  /** The tenant that pays; known once the request is admitted. */
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
  // Anthropic's name, which its clients read.
  response.setHeader('request-id', context.requestId);
  response.once('close', () => {
    if (!response.writableFinished) gone.abort(new DOMException('the client disconnected', 'AbortError'));
  });
  next();
};

declare module 'express-serve-static-core' {
  interface Locals {
    context: RequestContext;
    /** Absent until the request is authenticated. */
    caller?: Caller;
    /** Bytes reserved in the body budget. */
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

/** Identifies callers for limits: the key, or the address if there is none. */
export function callerKey(response: Response): string {
  const { address, name } = callerOf(response);
  return address ?? name;
}

/** How long the request waited for a slot, its position if it had to, the state of its model, and whether it is unparsed. */
export function queueHeaders(response: Response): Record<string, string> {
  const { queueMs, queuePosition, modelState, unparsed } = contextOf(response).trace;
  return compact({
    'X-Queue-Time-Ms': queueMs?.toFixed(1),
    'X-Queue-Position': queuePosition?.toString(),
    'X-Model-State': modelState,
    'X-Reply-Unparsed': unparsed && 'true',
  });
}
