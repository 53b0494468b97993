import { rateLimit, type AugmentedRequest, type ClientRateLimitInfo, type Store } from 'express-rate-limit';
import type { RequestHandler } from 'express';
import { LMServError } from '../errors.js';
import { callerKey, callerOf } from './context.js';

/** Max callers counted per rate; temporarily up to twice as many. */
const MAX_CALLERS = 100_000;

/** Milliseconds from any starting point; never runs backwards. */
export type Clock = () => number;

/**
 * Limits each caller (a key, or an address without one) to `qps` requests per second. The key's own limit takes
 * precedence; 0 disables it. Refused requests count too.
 */
export function perCallerLimit(qps: number, clock: Clock = () => performance.now()): RequestHandler {
  const limiters = new Limiters(clock);
  return (request, response, next) => {
    const own = callerOf(response).rateLimitQps ?? qps;
    if (own === 0) return next();
    void limiters.of(own)(request, response, next);
  };
}

interface Limiter {
  readonly limit: RequestHandler;
  readonly counts: CallerCounts;
}

/** One limiter per rate. Adding one drops those that no longer count anything, because key files change. */
export class Limiters {
  readonly #clock: Clock;
  readonly #byRate = new Map<number, Limiter>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Number of current rates. */
  get size(): number {
    return this.#byRate.size;
  }

  of(qps: number): RequestHandler {
    return (this.#byRate.get(qps) ?? this.#add(qps)).limit;
  }

  #add(qps: number): Limiter {
    for (const [rate, { counts }] of this.#byRate) if (counts.over) this.#byRate.delete(rate);
    const limiter = limiterFor(qps, this.#clock);
    this.#byRate.set(qps, limiter);
    return limiter;
  }
}

/** Expresses a rate as a whole number of requests in some time: 1.9 per second is one in 526 ms, 0.5 is one in 2 s. */
function limiterFor(qps: number, clock: Clock): Limiter {
  const limit = Math.max(1, Math.floor(qps));
  const windowMs = (limit * 1000) / qps;
  const counts = new CallerCounts(windowMs, MAX_CALLERS, clock);
  const handler = rateLimit({
    windowMs,
    limit,
    store: counts,
    standardHeaders: 'draft-7',
    legacyHeaders: false,
    // Made once, at the first request with that rate, because keys with new rates may be added at any time.
    validate: { creationStack: false },
    keyGenerator: (_request, response) => callerKey(response),
    handler: (request, _response, next) => {
      const { resetTime } = (request as AugmentedRequest).rateLimit!;
      const retryAfter = Math.max(1, Math.ceil((resetTime!.getTime() - Date.now()) / 1000));
      next(new LMServError('rate_limit_exceeded', undefined, { retryAfter }));
    },
  });
  return { limit: handler, counts };
}

interface Count {
  hits: number;
  /** When a new window begins, by the clock. */
  readonly endsAt: number;
}

/**
 * Counts the requests of each caller in a window that begins with the first one. The library's own store uses the wall
 * clock, which may be set back, and keeps every address it has seen within a window. This one forgets the least
 * recently seen callers when there are too many; their counts start again.
 */
export class CallerCounts implements Store {
  readonly localKeys = true;
  readonly #windowMs: number;
  readonly #maxCallers: number;
  readonly #clock: Clock;
  #recent = new Map<string, Count>();
  /** Callers not seen since `#turnedAt`. */
  #earlier = new Map<string, Count>();
  #turnedAt: number;
  /** When the last window ends, by the clock. */
  #endsAt = -Infinity;

  /** @param maxCallers callers that are guaranteed to be counted; at most twice as many are held. */
  constructor(windowMs: number, maxCallers: number, clock: Clock) {
    this.#windowMs = windowMs;
    this.#maxCallers = maxCallers;
    this.#clock = clock;
    this.#turnedAt = clock();
  }

  /** Number of callers held. */
  get size(): number {
    return this.#recent.size + this.#earlier.size;
  }

  /** Whether all windows have passed, so that it can be dropped. */
  get over(): boolean {
    return this.#clock() >= this.#endsAt;
  }

  increment(caller: string): ClientRateLimitInfo {
    const now = this.#clock();
    if (this.#recent.size >= this.#maxCallers || now - this.#turnedAt >= this.#windowMs) this.#turn(now);
    const known = this.#recent.get(caller) ?? this.#earlier.get(caller);
    const count = known && known.endsAt > now ? known : { hits: 0, endsAt: now + this.#windowMs };
    this.#endsAt = Math.max(this.#endsAt, count.endsAt);
    this.#earlier.delete(caller);
    this.#recent.set(caller, count);
    count.hits += 1;
    return { totalHits: count.hits, resetTime: new Date(Date.now() + count.endsAt - now) };
  }

  decrement(caller: string): void {
    const count = this.#recent.get(caller) ?? this.#earlier.get(caller);
    if (count && count.hits > 0) count.hits -= 1;
  }

  resetKey(caller: string): void {
    this.#recent.delete(caller);
    this.#earlier.delete(caller);
  }

  #turn(now: number): void {
    this.#earlier = this.#recent;
    this.#recent = new Map();
    this.#turnedAt = now;
  }
}
