import { InUse } from '../../../src/backends/in-use.js';
import { FakeClock } from './remote/helpers.js';

/** A task that runs until `end`. */
function running(inUse: InUse) {
  let end!: () => void;
  const task = inUse.during(() => new Promise<void>((resolve) => (end = resolve)));
  return { end: () => (end(), task) };
}

/** Whether a promise settles without waiting for anything else. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  void promise.then(() => (settled = true));
  await new Promise(setImmediate);
  return settled;
}

test('a backend in use closes when its last task ends, and accepts no new one', async () => {
  const clock = new FakeClock();
  const inUse = new InUse(clock);
  const [first, second] = [running(inUse), running(inUse)];
  const closed = inUse.close(60_000);
  await expect(inUse.during(async () => undefined)).rejects.toMatchObject({ code: 'draining' });
  await first.end();
  expect(await isSettled(closed)).toBe(false);
  await second.end();
  await closed;
  expect(clock.timers).toBe(0);
});

test('a failed task no longer counts', async () => {
  const inUse = new InUse(new FakeClock());
  await expect(inUse.during(() => Promise.reject(new Error('broken')))).rejects.toThrow('broken');
  await inUse.close(60_000);
});

test('a backend closes immediately when nothing runs, or without a grace', async () => {
  const clock = new FakeClock();
  const inUse = new InUse(clock);
  await inUse.close(60_000);
  const busy = new InUse(clock);
  const task = running(busy);
  await busy.close(0);
  expect(clock.timers).toBe(0);
  await task.end();
});

test('a backend closes at the end of the grace', async () => {
  const clock = new FakeClock();
  const inUse = new InUse(clock);
  const task = running(inUse);
  const closed = inUse.close(5_000);
  clock.advance(4_999);
  expect(await isSettled(closed)).toBe(false);
  clock.advance(1);
  await closed;
  await task.end();
});
