import { jest } from '@jest/globals';
import { fakeTimeouts, pass } from '../../support/clock.js';
import { firstText, startPool, TestPool } from '../../support/pool.js';

/** Somebody sets the clock, or a virtual machine wakes up: no time that is measured may change by that. */

const HOUR = 3_600_000;
const dateNow = Date.now;

/** Sets the wall clock. */
const step = (ms: number) => (Date.now = () => dateNow() + ms);

const timeouts = (ms: number) => ({ firstTokenMs: ms, tokenMs: ms });

afterEach(() => void (Date.now = dateNow));

const BOTH = [
  ['back', -HOUR],
  ['ahead', HOUR],
] as const;

const UNRESUMED = { response_format: { type: 'json_object' } };

test('a hang in prefill is detected when the clock is set back', async () => {
  const fake = await startPool({}, { timeouts: timeouts(500) });
  const { events } = fake.ask('@hang-in-prefill x', undefined, UNRESUMED);
  expect((await events.next()).value).toMatchObject({ type: 'prefill' });
  const exit = fake.next('worker_exit');
  step(-HOUR);
  void events.next().catch(() => undefined);
  expect(await exit).toMatchObject({ cause: 'hung' });
});

test('a hang between tokens is detected when the clock is set back', async () => {
  const fake = await startPool({}, { timeouts: timeouts(500) });
  const { events } = fake.ask('@hold x', undefined, UNRESUMED);
  await firstText(events);
  step(-HOUR);
  await expect(events.next()).rejects.toMatchObject({ code: 'generation_failed' });
  expect(fake.logged('worker_exit')[0]).toMatchObject({ cause: 'hung' });
});

test('a worker with time left is not considered hung when the clock is set ahead', async () => {
  const fake = await startPool({}, { slots: 2 });
  fakeTimeouts();
  const { context, release } = await fake.hold();
  step(HOUR);
  jest.advanceTimersByTime(30_000);
  const other = fake.ask('served');
  expect(await other.text()).toBe('served');
  expect(other.context.trace.worker).toBe(context.trace.worker);
  expect(fake.logged('worker_exit')).toEqual([]);
  jest.useRealTimers();
  await release();
});

test.each(BOTH)('set %s: a quarantine lasts its ten minutes', async (_direction, ms) => {
  const fake = await startPool({ workers: 2 });
  const body = { messages: [{ role: 'user', content: '@crash please' }] };
  await expect(fake.ask('@crash please').text()).rejects.toMatchObject({ code: 'prompt_quarantined' });
  step(ms);
  expect(fake.pool.refuses(body)).toBe(true);
  pass(9 * 60_000);
  expect(fake.pool.refuses(body)).toBe(true);
  pass(11 * 60_000);
  expect(fake.pool.refuses(body)).toBe(false);
});

test.each(BOTH)('set %s: Retry-After in a crash loop stays what it was', async (_direction, ms) => {
  const fake = new TestPool({}, { extraArgs: ['--fake-exit'] });
  fake.pool.start();
  for (let exits = 0; exits < 6; exits += 1) await fake.next('worker_exit');
  step(ms);
  const refused = await fake
    .ask('x')
    .text()
    .catch((error: unknown) => error);
  expect(refused).toMatchObject({ code: 'unavailable' });
  const { retryAfter } = refused as { retryAfter: number };
  expect(retryAfter).toBeGreaterThanOrEqual(1);
  expect(retryAfter).toBeLessThanOrEqual(30);
});

test.each(BOTH)('set %s: a wait in the queue lasts as long as it may', async (_direction, ms) => {
  const fake = await startPool({ resumeTimeoutMs: 50 });
  const { release } = await fake.hold();
  const signal = new AbortController().signal;
  const patient = fake.pool.lease(signal);
  const hasty = fake.pool.lease(signal, { resumed: true });
  step(ms);
  await expect(hasty).rejects.toMatchObject({ code: 'queue_timeout' });
  await release();
  (await patient).release(true);
});

test('a worker reaches its maximum age when the clock is set back', async () => {
  const fake = await startPool({ checkIntervalMs: 20, recycling: { ageMs: HOUR / 2 } });
  step(-HOUR);
  pass(HOUR);
  expect(await fake.next('worker_recycle')).toMatchObject({ limit: 'ageMs' });
});
