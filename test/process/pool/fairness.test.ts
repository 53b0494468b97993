import { jest } from '@jest/globals';
import type { GenerateRequest, WaitOutcome } from '../../../src/contract.js';
import { createGenerate } from '../../../src/generate/generate.js';
import type { PoolObserver } from '../../../src/observe/pool-observer.js';
import { fakeTimeouts } from '../../support/clock.js';
import { firstText, startPool, textOf, type TestPool } from '../../support/pool.js';
import { pullFrom, testContext } from '../../support/pulled.js';

/** The order in which requests are served after one slot has been held while they queued. */

const nothing = () => undefined;
const noObserver: PoolObserver = {
  ...{
    workerReady: nothing,
    workerExited: nothing,
    resumed: nothing,
    retried: nothing,
    callRepaired: nothing,
    waited: nothing,
  },
  ...{ adapted: nothing, modelLoaded: nothing, modelUnloaded: nothing },
};

let fake: TestPool;
let order: string[];

/** A pool of one slot in use, until the function it returns is called. */
async function heldSlot(...args: Parameters<typeof startPool>): Promise<() => Promise<unknown>> {
  fake = await startPool(...args);
  order = [];
  return (await fake.hold()).release;
}

const chat = (content: string) => ({ messages: [{ role: 'user', content }] });

/** Asks as `caller`; its name comes into `order` when it is served. */
async function ask(caller: string, name: string, more: Partial<GenerateRequest> = {}): Promise<void> {
  const body = chat(name);
  const { text } = fake.run({ kind: 'chat', n: 1, body, ...more }, undefined, caller);
  await text();
  order.push(name);
}

test('a caller with one request waits for at most one request of a caller with many', async () => {
  const release = await heldSlot();
  const all = [1, 2, 3, 4].map((n) => ask('greedy', `greedy ${n}`));
  all.push(ask('modest', 'modest 1'));
  await release();
  await Promise.all(all);
  expect(order.indexOf('modest 1')).toBeLessThanOrEqual(1);
});

test('interactive requests run before batch work', async () => {
  const release = await heldSlot();
  const all = [ask('a', 'batch', { priority: -1 }), ask('b', 'first'), ask('c', 'second')];
  await release();
  await Promise.all(all);
  expect(order).toEqual(['first', 'second', 'batch']);
});

test('of 1,000 requests at once with one worker and a queue of 64, those of the modest caller are served and 936 of the greedy one are refused at once', async () => {
  const waits: WaitOutcome[] = [];
  const release = await heldSlot({
    observer: { ...noObserver, waited: ({ outcome }) => void waits.push(outcome) },
  });
  const refused: string[] = [];
  const refusals = new Promise<void>((resolve) => {
    for (let n = 0; n < 1000; n += 1) {
      const caller = n < 990 ? 'greedy' : 'modest';
      ask(caller, `${caller} ${n}`).catch((error: { code: string; retryAfter: number }) => {
        expect(error).toMatchObject({ code: 'queue_full', retryAfter: expect.any(Number) });
        if (refused.push(caller) === 936) resolve();
      });
    }
  });
  // All of them are refused while the slot is still held.
  await refusals;
  expect(order).toEqual([]);
  expect(fake.pool.status().queue.waiting).toBe(64);
  expect(waits.filter((outcome) => outcome === 'refused')).toHaveLength(936);
  expect(new Set(refused)).toEqual(new Set(['greedy']));
  await release();
  while (order.length < 64) await new Promise(setImmediate);
  expect(order.filter((name) => name.startsWith('modest'))).toHaveLength(10);
  // The oldest of the greedy caller's stay, those that came before the 54th.
  const greedy = order.filter((name) => name.startsWith('greedy'));
  expect(greedy).toEqual(Array.from({ length: 54 }, (_, n) => `greedy ${n}`));
});

test('a caller that floods the queue with urgent requests neither shuts out another caller nor overtakes it twice', async () => {
  const release = await heldSlot({ queueLimit: 8 });
  const flood = Array.from({ length: 20 }, (_, n) =>
    ask('greedy', `urgent ${n}`, { priority: 1 }).catch((error: { code: string }) => error.code),
  );
  const modest = ['modest 1', 'modest 2'].map((name) => ask('modest', name));
  await release();
  await Promise.all(modest);
  expect(order.indexOf('modest 1')).toBeLessThanOrEqual(1);
  expect(order.indexOf('modest 2')).toBeLessThanOrEqual(3);
  const codes = await Promise.all(flood);
  expect(codes.filter((code) => code === 'queue_full')).toHaveLength(14);
});

test('an evicted request reports its position, the time it waited and Retry-After', async () => {
  const release = await heldSlot({ queueLimit: 2 });
  const [first, second] = ['one', 'two'].map((content) => fake.ask(content));
  const kept = first!.text();
  const refused = second!.text();
  const other = ask('other', 'other');
  await expect(refused).rejects.toMatchObject({ code: 'queue_full', status: 503, retryAfter: 1 });
  expect(second!.context.trace).toMatchObject({ queuePosition: 2, queueMs: expect.any(Number) });
  await release();
  expect(await kept).toBe('one');
  await other;
});

test('a resumed request is never evicted', async () => {
  const release = await heldSlot({ queueLimit: 1 });
  const signal = new AbortController().signal;
  const resumed = fake.pool.lease(signal, { caller: 'greedy', resumed: true });
  await expect(Promise.all([ask('greedy', 'greedy'), ask('modest', 'modest')])).rejects.toMatchObject({
    code: 'queue_full',
  });
  await release();
  (await resumed).release(true);
});

describe('more choices than slots', () => {
  const choices = (n: number, content: string) => {
    const generate = createGenerate(() => ({
      members: [{ model: 'fake', backend: fake.backend, maxTokens: { default: 100, cap: 100 } }],
    }));
    const caller = { name: 'many', admin: false };
    return pullFrom(generate, { kind: 'chat', n, body: chat(content) }, testContext({ caller }));
  };

  test('take one place in the queue, and none when the queue has no places', async () => {
    fake = await startPool({ queueLimit: 0 });
    expect(await textOf(choices(3, 'hi'))).toBe('hihihi');
  });

  test('are evicted together as one request', async () => {
    const release = await heldSlot({ queueLimit: 2 });
    const kept = ask('many', 'kept');
    const refused = textOf(choices(3, 'many'));
    const other = ask('other', 'other');
    await expect(refused).rejects.toMatchObject({ code: 'queue_full' });
    expect(fake.pool.status().queue.waiting).toBe(2);
    await release();
    await Promise.all([kept, other]);
  });

  test('do not time out while another choice is being written', async () => {
    fakeTimeouts();
    fake = await startPool({ queueTimeoutMs: 1_000 });
    const events = choices(2, '@hold x');
    await firstText(events);
    const alone = ask('alone', 'alone');
    jest.advanceTimersByTime(10_000);
    await expect(alone).rejects.toMatchObject({ code: 'queue_timeout' });
    expect(fake.pool.status().queue.waiting).toBe(1);
    await events.return(undefined);
    expect(fake.pool.status().queue.waiting).toBe(0);
  });
});

test('the position in the queue and the estimated wait are reported', async () => {
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

test('a timeout in the queue has Retry-After and counts the time waited', async () => {
  const release = await heldSlot({ queueTimeoutMs: 20 });
  const late = fake.ask('late');
  await expect(late.text()).rejects.toMatchObject({ code: 'queue_timeout', retryAfter: expect.any(Number) });
  expect(late.context.trace.queueMs).toBeGreaterThan(0);
  expect(fake.pool.status().queue.waiting).toBe(0);
  await release();
  expect(await fake.ask('still served').text()).toBe('still served');
});
