import { rateLimit, type AugmentedRequest, type ClientRateLimitInfo, type Store } from 'express-rate-limit';
import type { RequestHandler } from 'express';
import type { Caller } from '../contract.js';
import { LMServError } from '../errors.js';

/** Callers whose requests are counted, for each rate; twice as many for a moment. */
const MAX_CALLERS = 100_000;

/** Milliseconds, from any starting point; never set back. */
export type Clock = () => number;

/**
 * At most `qps` requests a second for each caller, which without a key is an address; a key's own limit goes before it;
 * 0 is no limit. Refused requests count too.
 */
export function perCallerLimit(qps: number, clock: Clock = () => performance.now()): RequestHandler {
  const limiters = new Limiters(clock);
  return (request, response, next) => {
    const caller = response.locals.caller as Caller;
    const own = caller.rateLimitQps ?? qps;
    if (own === 0) return next();
    void limiters.of(own)(request, response, next);
  };
}

interface Limiter {
  readonly limit: RequestHandler;
  readonly counts: CallerCounts;
}

/** A limiter for each rate. When one is added, those are forgotten that count nothing any more: key files change. */
export class Limiters {
  readonly #clock: Clock;
  readonly #byRate = new Map<number, Limiter>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Rates known now. */
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

/** Whole requests in just the time that makes them the rate: 1.9 a second is one in 526 ms, 0.5 is one in 2 s. */
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
    // Made at the first request of a rate, once: keys with rates of their own may be added while we run.
    validate: { creationStack: false },
    keyGenerator: (_request, response) => {
      const { name, address } = response.locals.caller as Caller;
      return address ?? name;
    },
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
  /** When it begins anew, by the clock. */
  readonly endsAt: number;
}

/**
 * Counts the requests of each caller in a window that begins with its first one. The library's own store goes by the
 * wall clock, which may be set back, and holds every address it has ever seen within a window. This one forgets those
 * not seen for longest when there are too many; they begin anew.
 */
export class CallerCounts implements Store {
  readonly localKeys = true;
  #recent = new Map<string, Count>();
  /** Callers not seen since `#turnedAt`. */
  #earlier = new Map<string, Count>();
  #turnedAt: number;
  /** When the last window ends, by the clock. */
  #endsAt = -Infinity;

  /** @param maxCallers callers that are surely known; at most twice as many are. */
  constructor(
    private readonly windowMs: number,
    private readonly maxCallers: number,
    private readonly clock: Clock,
  ) {
    this.#turnedAt = clock();
  }

  /** Callers held now. */
  get size(): number {
    return this.#recent.size + this.#earlier.size;
  }

  /** All windows have passed: nothing is lost with it. */
  get over(): boolean {
    return this.clock() >= this.#endsAt;
  }

  increment(caller: string): ClientRateLimitInfo {
    const now = this.clock();
    if (this.#recent.size >= this.maxCallers || now - this.#turnedAt >= this.windowMs) this.#turn(now);
    const known = this.#recent.get(caller) ?? this.#earlier.get(caller);
    const count = known && known.endsAt > now ? known : { hits: 0, endsAt: now + this.windowMs };
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
