import type { RequestHandler, Request, Response } from 'express';
import type { Caller, Trace } from '../contract.js';
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

/** Called when a request begins, with what finds out its route; what it returns is called at the request's end. */
export type OnRequest = (route: () => string) => () => void;

/**
 * Calls `onDone` once for each request, when its reply is finished or its client has gone. What it throws is logged,
 * because an error in a listener would end the server.
 */
export function recordRequests(
  onDone: (record: RequestRecord) => void,
  logger: Logger,
  onRequest?: OnRequest,
): RequestHandler {
  const countsOf = soundCounts(logger);
  return (request, response, next) => {
    const ended = onRequest?.(() => routeOf(request));
    response.once('close', () => {
      try {
        ended?.();
        Object.assign(contextOf(response).trace, countsOf(contextOf(response).trace));
        onDone(recordOf(request, response));
      } catch (err) {
        logger.error({ event: 'request_not_recorded', err }, 'a request was not recorded');
      }
    });
    next();
  };
}

/** The most tokens believed of one request. */
const MAX_TOKENS = 1e9;

/** Makes whole numbers of the token counts of any backend, and says so the first time that they are not. */
function soundCounts(logger: Logger) {
  let reported = false;
  return (trace: Trace) => {
    const { promptTokens, completionTokens, cachedTokens } = trace;
    const counts = { promptTokens, completionTokens, cachedTokens };
    const sound = {
      promptTokens: soundCount(promptTokens),
      completionTokens: soundCount(completionTokens),
      cachedTokens: soundCount(cachedTokens),
    };
    if (!reported && Object.values(counts).some((count) => count !== soundCount(count))) {
      reported = true;
      const { model, backend } = trace;
      logger.warn(
        { event: 'usage_unsound', model, backend, ...counts },
        'a backend counts tokens that cannot be',
      );
    }
    return sound;
  };
}

function soundCount(value: number): number {
  return value > 0 ? Math.min(Math.trunc(value), MAX_TOKENS) : 0;
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
