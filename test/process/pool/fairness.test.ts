import type { GenerateRequest } from '../../../src/contract.js';
import { firstText, TestPool } from '../../support/pool.js';

/** Who waits for whom, with one slot that is held while the others line up. */

let fake: TestPool;
let order: string[];

afterEach(async () => {
  fake.pool.kill();
  await fake.pool.stop(0);
});

/** A pool of one slot in use, until the function it returns is called. */
async function heldSlot(
  options: ConstructorParameters<typeof TestPool>[0] = {},
): Promise<() => Promise<unknown>> {
  fake = await new TestPool(options).ready();
  order = [];
  const { events } = fake.ask('@hold x');
  await firstText(events);
  return () => events.return(undefined);
}

/** Asks as `caller`; its name comes into `order` when it is served. */
async function ask(caller: string, name: string, more: Partial<GenerateRequest> = {}): Promise<void> {
  const body = { messages: [{ role: 'user', content: name }] };
  const { text } = fake.run({ kind: 'chat', n: 1, body, ...more }, undefined, caller);
  await text();
  order.push(name);
}

test('the modest caller waits for at most one request of the greedy one, not for all', async () => {
  const release = await heldSlot();
  const all = [1, 2, 3, 4].map((n) => ask('greedy', `greedy ${n}`));
  all.push(ask('modest', 'modest 1'));
  await release();
  await Promise.all(all);
  expect(order.indexOf('modest 1')).toBeLessThanOrEqual(1);
});

test('what somebody waits for goes before batch work', async () => {
  const release = await heldSlot();
  const all = [ask('a', 'batch', { priority: -1 }), ask('b', 'first'), ask('c', 'second')];
  await release();
  await Promise.all(all);
  expect(order).toEqual(['first', 'second', 'batch']);
});

test('1,000 requests at once, one worker, queue 64: 65 are served in fair order, the others are refused at once', async () => {
  const release = await heldSlot();
  let refused = 0;
  const refusals = new Promise<void>((resolve) => {
    for (let n = 0; n < 1000; n += 1) {
      const caller = n < 990 ? 'greedy' : 'modest';
      ask(caller, `${caller} ${n}`).catch((error: { code: string; retryAfter: number }) => {
        expect(error).toMatchObject({ code: 'queue_full', retryAfter: expect.any(Number) });
        if ((refused += 1) === 936) resolve();
      });
    }
  });
  // All of them are refused while the slot is still held: nobody waits to be told.
  await refusals;
  expect(order).toEqual([]);
  expect(fake.pool.status().queue.waiting).toBe(64);
  await release();
  while (order.length < 64) await new Promise(setImmediate);
  expect(order).toEqual(Array.from({ length: 64 }, (_, n) => `greedy ${n}`));
});

test('the place in the queue is told, and how long those take who are before', async () => {
  const release = await heldSlot({ queueLimit: 2 });
  const first = fake.ask('one');
  const second = fake.ask('two');
  const replies = [first.text(), second.text()];
  await expect(fake.ask('three').text()).rejects.toMatchObject({ code: 'queue_full', retryAfter: 1 });
  expect([first.context.trace.queuePosition, second.context.trace.queuePosition]).toEqual([1, 2]);
  await release();
  await Promise.all(replies);
  const alone = fake.ask('no queue now');
  await alone.text();
  expect(alone.context.trace.queuePosition).toBeUndefined();
  expect(alone.context.trace.queueMs).toBeGreaterThanOrEqual(0);
});

test('a time-out in the queue tells when to come again, and counts the time waited', async () => {
  const release = await heldSlot({ queueTimeoutMs: 20 });
  const late = fake.ask('late');
  await expect(late.text()).rejects.toMatchObject({ code: 'queue_timeout', retryAfter: expect.any(Number) });
  expect(late.context.trace.queueMs).toBeGreaterThan(0);
  expect(fake.pool.status().queue.waiting).toBe(0);
  await release();
  expect(await fake.ask('still served').text()).toBe('still served');
});
