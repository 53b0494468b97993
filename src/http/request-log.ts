import type { RequestHandler, Request, Response } from 'express';
import type { Caller } from '../contract.js';
import type { Logger } from '../observe/logger.js';
import { contextOf, type RequestContext } from './context.js';

/** How a request that generated ended: all of it delivered, given up by the client, broken, or refused at once. */
export type Outcome = 'finished' | 'cancelled' | 'broken' | 'refused';

/** What a finished request is known by: for the log line and the usage table. Times are milliseconds. */
export interface RequestRecord {
  readonly requestId: string;
  readonly method: string;
  readonly route: string;
  readonly status: number;
  readonly ms: number;
  readonly caller: Caller | undefined;
  readonly outcome: Outcome;
  /** Something of the answer was sent. A reply in one piece that failed, or came too late, delivered no token. */
  readonly delivered: boolean;
  readonly context: RequestContext;
}

/** Told that a request has begun, and how to find out its route; what it returns is called at the request's end. */
export type OnRequest = (route: () => string) => () => void;

/** Calls `onDone` once for each request, when its reply is finished or its client has gone. */
export function recordRequests(
  onDone: (record: RequestRecord) => void,
  onRequest?: OnRequest,
): RequestHandler {
  return (request, response, next) => {
    const ended = onRequest?.(() => routeOf(request));
    response.once('close', () => {
      ended?.();
      onDone(recordOf(request, response));
    });
    next();
  };
}

/** One line a request: who, what, how long; never what was said. */
export function logRequest(logger: Logger, record: RequestRecord): void {
  const { context, caller, delivered: _, ...plain } = record;
  const { trace, error } = context;
  const line = {
    event: 'request',
    ...plain,
    ms: round(record.ms),
    caller: caller?.name,
    ...(context.generated ? generationFields(trace) : {}),
    ...(error ? { error: error.code } : {}),
  };
  logger[levelOf(record)](line, `${record.method} ${record.route} ${record.status}`);
}

/** What load balancers and Prometheus ask every few seconds; a line each would bury the others. */
const POLLED: ReadonlySet<string> = new Set(['/', '/health', '/ready', '/metrics']);

function levelOf({ route, status, outcome }: RequestRecord): 'debug' | 'info' | 'warn' {
  if (POLLED.has(route)) return 'debug';
  return status >= 500 || outcome === 'broken' ? 'warn' : 'info';
}

function generationFields(trace: RequestContext['trace']) {
  const { completionTokens, decodeMs, firstTokenMs } = trace;
  return {
    model: trace.model,
    backend: trace.backend,
    worker: trace.worker,
    promptTokens: trace.promptTokens,
    cachedTokens: trace.cachedTokens,
    completionTokens,
    queueMs: round(trace.queueMs),
    queuePosition: trace.queuePosition,
    ttftMs: round(firstTokenMs),
    // The first token is the prefill's work; the rate is that of the others.
    tokensPerSec:
      decodeMs && completionTokens > 1 ? round(((completionTokens - 1) * 1000) / decodeMs) : undefined,
    finishReason: trace.finishReason,
    attempts: trace.attempts > 1 ? trace.attempts : undefined,
    resumes: trace.resumes,
  };
}

function recordOf(request: Request, response: Response): RequestRecord {
  const context = contextOf(response);
  return {
    requestId: context.requestId,
    method: request.method,
    route: routeOf(request),
    status: response.statusCode,
    ms: performance.now() - context.began,
    caller: response.locals.caller as Caller | undefined,
    outcome: outcomeOf(response, context),
    delivered: response.headersSent && response.statusCode < 400,
    context,
  };
}

/** The pattern that matched, not what was asked for: a path may hold anything, a query a key. */
function routeOf({ route }: Request): string {
  return (route as { path?: string } | undefined)?.path ?? 'unknown';
}

function outcomeOf(response: Response, context: RequestContext): Outcome {
  if (context.error) return response.headersSent && response.statusCode < 400 ? 'broken' : 'refused';
  return response.writableFinished ? 'finished' : 'cancelled';
}

function round(value: number | undefined): number | undefined {
  return value === undefined ? undefined : Math.round(value * 10) / 10;
}
