import type { RequestHandler, Request, Response } from 'express';
import type { Caller, Outcome, Trace } from '../contract.js';
import type { Logger } from '../observe/logger.js';
import { contextOf, type RequestContext } from './context.js';

/** A request that has ended, for the log, the usage table and the metrics. Times are milliseconds. */
export interface RequestRecord {
  readonly requestId: string;
  readonly method: string;
  readonly route: string;
  readonly status: number;
  readonly ms: number;
  readonly caller: Caller | undefined;
  readonly outcome: Outcome;
  /** A part of the reply was sent. A reply in one piece that failed or was too late delivered no token. */
  readonly delivered: boolean;
  readonly context: RequestContext;
}

/** Observes every request. */
export interface RequestObserver {
  /** @param route finds the route, which is not known yet. @returns a function to call when the request ends. */
  requestBegan(route: () => string): () => void;
  /** Called once, when the reply is finished or the client has disconnected. */
  requestDone(record: RequestRecord): void;
}

/** Reports every request to `observer`. Its errors are logged, because an error in a listener would end the server. */
export function recordRequests(observer: RequestObserver, logger: Logger): RequestHandler {
  const countsOf = plausibleCounts(logger);
  return (request, response, next) => {
    const ended = observer.requestBegan(() => routeOf(request));
    response.once('close', () => {
      try {
        ended();
        Object.assign(contextOf(response).trace, countsOf(contextOf(response).trace));
        observer.requestDone(toRecord(request, response));
      } catch (err) {
        logger.error({ event: 'request_not_recorded', err }, 'a request could not be recorded');
      }
    });
    next();
  };
}

/** More tokens than any request can have. */
const MAX_TOKENS = 1e9;

/** Turns a backend's token counts into whole numbers within bounds, and logs the first ones that are not. */
function plausibleCounts(logger: Logger) {
  let reported = false;
  return (trace: Trace) => {
    const { promptTokens, completionTokens, cachedTokens } = trace;
    const counts = { promptTokens, completionTokens, cachedTokens };
    const plausible = {
      promptTokens: plausibleCount(promptTokens),
      completionTokens: plausibleCount(completionTokens),
      cachedTokens: plausibleCount(cachedTokens),
    };
    if (!reported && Object.values(counts).some((count) => count !== plausibleCount(count))) {
      reported = true;
      const { model, backend } = trace;
      logger.warn(
        { event: 'usage_unsound', model, backend, ...counts },
        'a backend reported impossible token counts',
      );
    }
    return plausible;
  };
}

function plausibleCount(value: number): number {
  return value > 0 ? Math.min(Math.trunc(value), MAX_TOKENS) : 0;
}

/** Logs one line per request: the caller, the route, the times; never the contents. */
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

/** Load balancers and Prometheus poll these every few seconds; their lines would drown out the others. */
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
    // The first token belongs to the prefill; this is the rate of the others.
    tokensPerSec:
      decodeMs && completionTokens > 1 ? round(((completionTokens - 1) * 1000) / decodeMs) : undefined,
    finishReason: trace.finishReason,
    attempts: trace.attempts > 1 ? trace.attempts : undefined,
    resumes: trace.resumes,
    repairs: trace.repairs,
  };
}

function toRecord(request: Request, response: Response): RequestRecord {
  const context = contextOf(response);
  return {
    requestId: context.requestId,
    method: request.method,
    route: routeOf(request),
    status: response.statusCode,
    ms: performance.now() - context.began,
    caller: response.locals.caller,
    outcome: outcomeOf(response, context),
    delivered: response.headersSent && response.statusCode < 400,
    context,
  };
}

/** The pattern that matched, not the URL: a path may contain anything, a query a key. */
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
