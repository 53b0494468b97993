import { rateLimit } from 'express-rate-limit';
import type { RequestHandler } from 'express';
import type { Caller } from '../contract.js';
import { LMServError } from '../errors.js';

/** Milliseconds over which requests are counted; longer than a second for rates below one. */
const WINDOW_MS = 1_000;

/** At most `qps` requests a second for each caller, which without a key is an address; a key's own limit goes before it; 0 is no limit. */
export function perCallerLimit(qps: number): RequestHandler {
  const limiters = new Map<number, RequestHandler>();
  return (request, response, next) => {
    const caller = response.locals.caller as Caller;
    const own = caller.rateLimitQps ?? qps;
    if (own === 0) return next();
    const limiter = limiters.get(own) ?? limiterFor(own);
    limiters.set(own, limiter);
    void limiter(request, response, next);
  };
}

function limiterFor(qps: number): RequestHandler {
  const windowMs = qps < 1 ? WINDOW_MS / qps : WINDOW_MS;
  return rateLimit({
    windowMs,
    limit: Math.max(1, Math.floor(qps)),
    standardHeaders: 'draft-7',
    legacyHeaders: false,
    // Made at the first request of a rate, once: keys with rates of their own may be added while we run.
    validate: { creationStack: false },
    keyGenerator: (_request, response) => {
      const { name, address } = response.locals.caller as Caller;
      return address ?? name;
    },
    handler: (_request, _response, next) =>
      next(new LMServError('rate_limit_exceeded', undefined, { retryAfter: Math.ceil(windowMs / 1000) })),
  });
}
