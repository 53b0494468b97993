import type { NextFunction, Request, Response } from 'express';
import type { Caller } from '../../../src/contract.js';
import { LMServError } from '../../../src/errors.js';
import { CallerCounts, Limiters, perCallerLimit } from '../../../src/http/rate-limit.js';

/** A limit whose clock stands until it is moved. */
class Limited {
  now = 5_000;
  readonly #handler;

  constructor(qps: number) {
    this.#handler = perCallerLimit(qps, () => this.now);
  }

  /** Sends one request: undefined when it is let through, else the error. */
  async send(caller: Partial<Caller> = {}): Promise<LMServError | undefined> {
    const locals = { caller: { name: 'a', admin: false, ...caller } };
    const response = { locals, setHeader: () => undefined, headersSent: false } as unknown as Response;
    return new Promise((resolve) => {
      const next: NextFunction = (error?: unknown) => resolve(error as LMServError | undefined);
      void this.#handler({ headers: {} } as Request, response, next);
    });
  }

  /** How many of so many requests, one each `everyMs` milliseconds, are let through. */
  async passed(requests: number, everyMs: number): Promise<number> {
    let passed = 0;
    for (let n = 0; n < requests; n += 1) {
      if (!(await this.send())) passed += 1;
      this.now += everyMs;
    }
    return passed;
  }
}

test.each([0.001, 0.5, 1, 1.9, 2.5, 7, 10.1])('%p a second lets just as many through', async (qps) => {
  const limited = new Limited(qps);
  // Twenty times as many as the limit allows: 100 of them may pass.
  const passed = await limited.passed(2_000, 1_000 / qps / 20);
  // A window begins with a request, so up to one twentieth late; the last one counts whole.
  expect(passed).toBeGreaterThanOrEqual(95);
  expect(passed).toBeLessThanOrEqual(100 + Math.max(1, Math.floor(qps)));
});

test('0.00001 a second is one request a day and not unlimited; Retry-After says how much of it is left', async () => {
  const limited = new Limited(0.000_01);
  expect(await limited.send()).toBeUndefined();
  expect((await limited.send())?.retryAfter).toBe(100_000);
  limited.now += 40_000_000;
  expect((await limited.send())?.retryAfter).toBe(60_000);
  limited.now += 60_000_000;
  expect(await limited.send()).toBeUndefined();
});

test('callers count by key or address, and by the rate of their own', async () => {
  const limited = new Limited(1);
  expect(await limited.send()).toBeUndefined();
  expect(await limited.send()).toMatchObject({ code: 'rate_limit_exceeded', retryAfter: 1 });
  expect(await limited.send({ name: 'b' })).toBeUndefined();
  const anonymous = { name: 'anonymous' };
  expect(await limited.send({ ...anonymous, address: '10.0.0.1' })).toBeUndefined();
  expect(await limited.send({ ...anonymous, address: '10.0.0.2' })).toBeUndefined();
  expect(await limited.send({ ...anonymous, address: '10.0.0.1' })).toBeDefined();
  for (let n = 0; n < 10; n += 1) expect(await limited.send({ rateLimitQps: 0 })).toBeUndefined();
});

test('rates that no key has any more are forgotten, those that still count are not', async () => {
  let now = 0;
  const limiters = new Limiters(() => now);
  const send = (qps: number) => {
    const locals = { caller: { name: 'a', admin: false } };
    const response = { locals, setHeader: () => undefined, headersSent: false } as unknown as Response;
    return new Promise((resolve) => void limiters.of(qps)({ headers: {} } as Request, response, resolve));
  };
  await send(0.001);
  for (let qps = 1; qps <= 500; qps += 1) {
    await send(qps);
    now += 1_000;
  }
  expect(limiters.size).toBeLessThanOrEqual(3);
  expect(await send(0.001)).toMatchObject({ code: 'rate_limit_exceeded' });
});

describe('the counts of callers', () => {
  test('are bounded, however many addresses come; one that is seen again and again is not forgotten', () => {
    const counts = new CallerCounts(60_000, 1_000, () => 0);
    for (let n = 0; n < 100_000; n += 1) {
      counts.increment(`10.0.${n}`);
      if (n % 100 === 0) counts.increment('steady');
    }
    expect(counts.size).toBeLessThanOrEqual(2_000);
    expect(counts.increment('steady').totalHits).toBe(1_001);
  });

  test('are forgotten when their window has passed', () => {
    let now = 0;
    const counts = new CallerCounts(1_000, 1_000, () => now);
    for (let n = 0; n < 500; n += 1) counts.increment(`caller ${n}`);
    for (let step = 0; step < 3; step += 1) {
      now += 1_000;
      counts.increment('last');
    }
    expect(counts.size).toBe(1);
  });

  test('can be taken back', () => {
    const counts = new CallerCounts(1_000, 1_000, () => 0);
    counts.increment('a');
    counts.decrement('a');
    expect(counts.increment('a').totalHits).toBe(1);
    counts.resetKey('a');
    expect(counts.size).toBe(0);
  });
});
