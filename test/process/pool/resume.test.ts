import { join } from 'node:path';
import { pino } from 'pino';
import { LocalBackend } from '../../../src/backends/local/backend.js';
import type { GenerateEvent } from '../../../src/contract.js';
import { emptyFolder } from '../../support/folder.js';
import { firstText, startPool, textOf, type TestPool } from '../../support/pool.js';
import { pull } from '../../support/pulled.js';

/** A reply whose worker fails in the middle is resumed by another one. */

const folder = emptyFolder();
let fake: TestPool;

beforeEach(async () => {
  fake = await startPool({ workers: 2 });
});

const dieOnce = () => `@die-once:${join(folder, 'died')} one two three four five`;

async function all(events: AsyncIterable<GenerateEvent>): Promise<GenerateEvent[]> {
  const list = [];
  for await (const event of events) list.push(event);
  return list;
}

test('a resumed reply has one prefill, each word once, one finish and one usage that counts everything', async () => {
  const { events, context } = fake.ask(dieOnce());
  expect(await all(events)).toEqual([
    { type: 'prefill', promptTokens: 5 },
    ...['one ', 'two ', 'three ', 'four ', 'five'].map((text) => ({ type: 'text', index: 0, text })),
    { type: 'finish', index: 0, reason: 'stop' },
    { type: 'usage', usage: { promptTokens: 5, completionTokens: 5, cachedTokens: 0 } },
  ]);
  expect(context.trace.attempts).toBe(2);
});

test('the other worker gets the remaining max_tokens', async () => {
  expect(await fake.ask(dieOnce(), undefined, { max_tokens: 4 }).text()).toBe('one two three four ');
});

test('a worker that dies after all tokens but before the finish reason costs nothing', async () => {
  const events = await all(fake.ask(dieOnce(), undefined, { max_tokens: 2 }).events);
  expect(events.slice(-2)).toEqual([
    { type: 'finish', index: 0, reason: 'length' },
    { type: 'usage', usage: { promptTokens: 5, completionTokens: 2, cachedTokens: 0 } },
  ]);
});

test('tokens that arrive together are counted separately', async () => {
  const { events } = fake.ask(dieOnce(), undefined, { max_tokens: 4 });
  const counted = events[Symbol.asyncIterator]();
  await firstText(counted);
  expect(await textOf(events)).toBe('two three four ');
});

test('a stopped worker does not delay a resumed reply', async () => {
  fake = await startPool({}, { timeouts: { tokenMs: 300 } });
  const { signal } = new AbortController();
  const lease = await fake.pool.lease(signal);
  process.kill(lease.worker.pid!, 'SIGSTOP');
  const exit = fake.next('worker_exit');
  await expect(lease.worker.fetch('POST', '/tokenize', { content: 'x' }, signal)).rejects.toMatchObject({
    kind: 'hung',
  });
  expect(await exit).toMatchObject({ signal: 'SIGKILL', reason: expect.stringMatching(/^hung/) });
  lease.release(false);
});

test('a raw prompt is resumed as well', async () => {
  const prompt = `${dieOnce()}\n---\n`;
  expect(await textOf(fake.run({ kind: 'raw', n: 1, body: { prompt } }).events)).toBe(
    'one two three four five',
  );
});

test('a resumed reply goes ahead of waiting requests, even when the queue is full', async () => {
  fake = await startPool({ workers: 1, queueLimit: 1 });
  const { events } = fake.ask(dieOnce());
  await firstText(events);
  const order: string[] = [];
  const waiting = fake
    .ask('later')
    .text()
    .then(() => order.push('waiting'));
  expect(await textOf(events).then((rest) => (order.push('resumed'), rest))).toBe('two three four five');
  await waiting;
  expect(order).toEqual(['resumed', 'waiting']);
});

test('a request that lost its worker before the first token does not queue again, even when the queue is full', async () => {
  fake = await startPool({ workers: 1, queueLimit: 0 });
  const { events } = fake.ask(`@hang-once:${join(folder, 'hung')} fine`);
  expect(await events.next()).toMatchObject({ value: { type: 'prefill' } });
  const rest = textOf(events);
  await fake.killOutside();
  expect(await rest).toBe('fine');
});

test.each([
  ['tools', { tools: [{ type: 'function', function: { name: 'f' } }] }],
  ['a schema', { response_format: { type: 'json_object' } }],
  ['log probabilities', { logprobs: true }],
])('with %s a reply cannot resume exactly and is visibly broken', async (_name, fields) => {
  await expect(fake.ask(dieOnce(), undefined, fields).text()).rejects.toMatchObject({
    code: 'generation_failed',
  });
});

test('a reply is visibly broken when resuming is turned off', async () => {
  const off = new LocalBackend('fake', fake.pool, pino({ level: 'silent' }), { resume: false });
  const { context } = fake.ask('x');
  const body = { messages: [{ role: 'user', content: dieOnce() }] };
  const reply = textOf(pull(off, { kind: 'chat', n: 1, body }, context));
  await expect(reply).rejects.toMatchObject({ code: 'generation_failed' });
});

test('a worker that dies after the finish reason costs only its own usage count', async () => {
  const events = await all(fake.ask('@die-after-finish one two').events);
  expect(events.slice(-2)).toEqual([
    { type: 'finish', index: 0, reason: 'stop' },
    { type: 'usage', usage: { promptTokens: 5, completionTokens: 2, cachedTokens: 0 } },
  ]);
});

test('a reply whose continuation produces no token fails after a second attempt', async () => {
  await expect(fake.ask('@die-in-decode one two').text()).rejects.toMatchObject({
    code: 'generation_failed',
  });
  expect(fake.logged('worker_exit')).toHaveLength(3);
});

describe('the prompt of the continuation', () => {
  /** What the second worker was given as its prompt, from its stderr; ends it. */
  async function promptGiven(): Promise<string | undefined> {
    const { stderr } = await fake.killOutside(fake.pool.workers().find(({ served }) => served > 0)!.pid);
    return stderr.find((line: string) => line.startsWith('prompt '));
  }

  test('is the original prompt followed by the ids of the tokens that were sent', async () => {
    expect(await fake.ask(dieOnce()).text()).toBe('one two three four five');
    const prompt = JSON.parse((await promptGiven())!.slice('prompt '.length));
    expect(prompt).toEqual([expect.stringContaining('one two three four five\n---\n'), 0, 1]);
  });

  test('is the text so far when the vocabulary does not reproduce the tokens', async () => {
    fake = await startPool({ workers: 2 }, { extraArgs: ['--fake-space'] });
    expect(await fake.ask(dieOnce()).text()).toBe('one two three four five');
    expect(await promptGiven()).toBeUndefined();
  });
});

test('a client can turn resuming off for its request', async () => {
  const body = { messages: [{ role: 'user', content: dieOnce() }] };
  const reply = fake.run({ kind: 'chat', n: 1, body, resume: false }).text();
  await expect(reply).rejects.toMatchObject({ code: 'generation_failed' });
});
