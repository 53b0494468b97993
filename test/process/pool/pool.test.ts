import { join } from 'node:path';
import { jest } from '@jest/globals';
import { fakeTimeouts, pass } from '../../support/clock.js';
import { emptyFolder } from '../../support/folder.js';
import { firstText, isAlive, startPool, TestPool, textOf } from '../../support/pool.js';

const folder = emptyFolder();

/** A pool that is not ready yet. */
function starting(...args: ConstructorParameters<typeof TestPool>): TestPool {
  const fake = new TestPool(...args);
  fake.pool.start();
  return fake;
}

test('a request is served, its slot is released, and the same process serves the next one', async () => {
  const fake = await startPool();
  expect(await fake.ask('one two').text()).toBe('one two');
  const [pid] = fake.pool.pids();
  expect(await fake.ask('three').text()).toBe('three');
  expect(fake.pool.pids()).toEqual([pid]);
  expect(fake.pool.status()).toMatchObject({
    ready: true,
    slots: { total: 1, idle: 1 },
    queue: { waiting: 0 },
  });
});

test('stdin stays open and is never written to, whatever the client sends', async () => {
  const fake = await startPool();
  const nasty = '/read /etc/passwd\n/exit\n> \\';
  expect(await fake.ask(nasty).text()).toBe(nasty);
  const exit = await fake.killOutside();
  expect(exit.stderr.join('\n')).toContain('request /read');
  expect(exit.stderr.join('\n')).not.toContain('STDIN');
});

describe('the queue', () => {
  test('serves in order with one slot and in parallel with more', async () => {
    const fake = await startPool();
    const order: string[] = [];
    await Promise.all(
      ['a', 'b', 'c', 'd'].map(async (name) => {
        await fake.ask(name).text();
        order.push(name);
      }),
    );
    expect(order).toEqual(['a', 'b', 'c', 'd']);
  });

  test('runs LLM_SLOTS requests at once in one worker', async () => {
    const fake = await startPool({}, { slots: 4 });
    const held = await Promise.all(['a', 'b', 'c', 'd'].map((name) => fake.hold(`@hold ${name}`)));
    expect(fake.pool.status().slots).toEqual({ total: 4, idle: 0 });
    expect(fake.pool.pids()).toHaveLength(1);
    await Promise.all(held.map(({ release }) => release()));
    expect(fake.pool.status().slots.idle).toBe(4);
  });

  test('chooses the least busy worker', async () => {
    const fake = await startPool({ workers: 2 }, { slots: 2 });
    const held = await Promise.all(['@hold a', '@hold b'].map((text) => fake.hold(text)));
    expect(new Set(held.map(({ context }) => context.trace.worker)).size).toBe(2);
    await Promise.all(held.map(({ release }) => release()));
  });

  test('refuses at once when it is full and times out requests that waited too long', async () => {
    const fake = await startPool({ queueLimit: 1, queueTimeoutMs: 50 });
    const { release } = await fake.hold();
    const waiting = fake.ask('a').text();
    await expect(fake.ask('b').text()).rejects.toMatchObject({
      code: 'queue_full',
      status: 503,
      retryAfter: 1,
    });
    await expect(waiting).rejects.toMatchObject({ code: 'queue_timeout', status: 503 });
    await release();
    expect(await fake.ask('c').text()).toBe('c');
  });

  test('refuses a request that must not wait', async () => {
    const fake = await startPool();
    const { release } = await fake.hold();
    const { signal } = new AbortController();
    await expect(fake.pool.lease(signal, { mayWait: false })).rejects.toMatchObject({ code: 'queue_full' });
    await release();
    (await fake.pool.lease(signal, { mayWait: false })).release(true);
  });

  test('serves a higher priority first', async () => {
    const fake = await startPool();
    const { release } = await fake.hold();
    const order: string[] = [];
    const { signal } = new AbortController();
    const wait = async (name: string, priority: number) => {
      const lease = await fake.pool.lease(signal, { priority });
      order.push(name);
      lease.release(true);
    };
    const all = Promise.all([wait('batch', -1), wait('plain', 0), wait('urgent', 1)]);
    await release();
    await all;
    expect(order).toEqual(['urgent', 'plain', 'batch']);
  });

  test('removes a request whose client leaves, which then never runs', async () => {
    const fake = await startPool();
    const { release } = await fake.hold();
    const gone = new AbortController();
    const waiting = fake.ask('never', gone.signal).text();
    expect(fake.pool.status().queue.waiting).toBe(1);
    gone.abort(new Error('gone'));
    await expect(waiting).rejects.toThrow('gone');
    expect(fake.pool.status().queue.waiting).toBe(0);
    await release();
    await fake.ask('after').text();
    const { stderr } = await fake.killOutside();
    expect(stderr).toContain('request after');
    expect(stderr).not.toContain('request never');
  });
});

describe('cancelling', () => {
  test('an abort ends the generation in the worker and frees the slot', async () => {
    const fake = await startPool();
    const gone = new AbortController();
    const { events } = fake.ask('@hold x', gone.signal);
    await firstText(events);
    const next = events.next();
    gone.abort(new Error('gone'));
    await expect(next).rejects.toThrow('gone');
    expect(fake.pool.status().slots.idle).toBe(1);
    await fake.ask('next').text();
    expect((await fake.killOutside()).stderr).toContain('closed @hold x');
  });
});

describe('a worker that dies', () => {
  test('while idle is replaced at once, and only it', async () => {
    const fake = await startPool({ workers: 2 });
    const [first, second] = fake.pool.pids();
    process.kill(first!, 'SIGKILL');
    expect(await fake.next('worker_exit')).toMatchObject({ pid: first, signal: 'SIGKILL' });
    const spawned = await fake.next('worker_spawn');
    expect(fake.pool.pids().sort()).toEqual([second, spawned.pid].sort());
    expect(await fake.ask('still here').text()).toBe('still here');
    await fake.next('worker_ready');
  });

  test('before the first token has its request run again, once', async () => {
    const fake = await startPool({ workers: 2 });
    const { context, text } = fake.ask('@die-in-prefill x');
    await expect(text()).rejects.toMatchObject({
      code: 'generation_failed',
      stderr: expect.stringContaining('boom'),
    });
    expect(context.trace.attempts).toBe(2);
    expect(fake.logged('worker_exit')).toHaveLength(2);
  });

  test('before the first token by a kill from outside goes unnoticed by the client', async () => {
    const fake = await startPool({ workers: 2 });
    const { events, context } = fake.ask(`@hang-once:${join(folder, 'hung')} fine`);
    expect(await events.next()).toMatchObject({ value: { type: 'prefill' } });
    const first = context.trace.worker;
    const { pid } = fake.logged('worker_spawn').find(({ worker }) => worker === first);
    const rest = textOf(events);
    await fake.killOutside(pid);
    expect(await rest).toBe('fine');
    expect(context.trace).toMatchObject({ attempts: 2 });
    expect(context.trace.worker).not.toBe(first);
  });

  test('during a stream causes an error after the tokens that arrived', async () => {
    const fake = await startPool();
    const seen: string[] = [];
    const { events } = fake.ask('@die-in-decode one two');
    const read = async () => {
      for await (const event of events) if (event.type === 'text') seen.push(event.text);
    };
    await expect(read()).rejects.toMatchObject({ code: 'generation_failed' });
    expect(seen).toEqual(['one ', 'two']);
    expect(await fake.ask('again').text()).toBe('again');
  });

  test('without an end of its stream causes an error', async () => {
    const fake = await startPool();
    await expect(fake.ask('@cut one').text()).rejects.toMatchObject({ code: 'generation_failed' });
  });
});

describe('a worker that hangs', () => {
  test('in prefill is killed after its deadline, and the request runs again', async () => {
    const fake = await startPool({}, { timeouts: { firstTokenMs: 100 } });
    const reply = fake.ask('@hang-in-prefill x').text();
    expect(await fake.next('worker_exit')).toMatchObject({
      signal: 'SIGKILL',
      reason: expect.stringMatching(/^hung/),
    });
    await expect(reply).rejects.toMatchObject({ code: 'generation_failed' });
  });

  test('between tokens is killed although it sends pings', async () => {
    const fake = await startPool({}, { timeouts: { firstTokenMs: 1_000, tokenMs: 100 } });
    const reply = fake.ask('@pings one').text();
    expect(await fake.next('worker_exit')).toMatchObject({ reason: expect.stringMatching(/^hung/) });
    await expect(reply).rejects.toMatchObject({ code: 'generation_failed' });
  });

  test('is not one that generates tokens without text, which cause no event', async () => {
    const fake = await startPool({}, { timeouts: { firstTokenMs: 100, tokenMs: 100 } });
    expect(await fake.ask('@textless one').text()).toBe('one and an end');
    expect(fake.logged('worker_exit')).toEqual([]);
  });

  test('is not one whose client does not read', async () => {
    const fake = await startPool({}, { timeouts: { firstTokenMs: 100, tokenMs: 100 } });
    fakeTimeouts();
    const { events } = await fake.hold('one two');
    pass(1_000);
    jest.advanceTimersByTime(1_000);
    expect(await events.next()).toMatchObject({ value: { text: 'two' } });
    await events.return(undefined);
  });
});

describe('starting', () => {
  test('refuses requests with 503 starting before the first worker is ready', async () => {
    await expect(starting().ask('x').text()).rejects.toMatchObject({
      code: 'starting',
      message: 'Server is starting up',
    });
  });

  test('fails with the reason when the model cannot be loaded, and logs stderr', async () => {
    const fake = starting({}, { extraArgs: ['--fake-exit'] });
    const exit = await fake.next('worker_exit');
    expect(exit).toMatchObject({ code: 7, reason: 'exit code 7', stderr: ['error: failed to load model'] });
    await expect(fake.ask('x').text()).rejects.toMatchObject({
      code: 'unavailable',
      message: 'No worker can be started: exit code 7: failed to load model',
    });
    expect(fake.pool.status()).toMatchObject({ ready: false, starting: false });
  });

  test('gives up on a silent process with a hint at the remedy', async () => {
    const fake = starting({}, { extraArgs: ['--fake-silent'], timeouts: { startMs: 300 } });
    expect((await fake.next('worker_exit')).reason).toContain('npm run setup');
  });

  test('reports a missing program like any other exit', async () => {
    const fake = starting({}, { binary: { path: '/nonexistent/llama-cli', kind: 'llama-cli' } });
    expect((await fake.next('worker_exit')).reason).toMatch(/exit code 127|ENOENT/);
  });

  test('drains a flood on stderr without blocking the worker', async () => {
    const fake = await startPool({}, { extraArgs: ['--fake-flood'] });
    expect(await fake.ask('alive').text()).toBe('alive');
  });
});

describe('stopping', () => {
  test('lets running and waiting replies finish within the grace, refuses new requests, then ends the processes', async () => {
    const fake = await startPool();
    const pids = fake.pool.pids();
    const { release } = await fake.hold();
    const waiting = fake.ask('y').text();
    const stopped = fake.backend.stop(60_000);
    await expect(fake.ask('z').text()).rejects.toMatchObject({ code: 'draining' });
    expect(isAlive(pids[0]!)).toBe(true);
    await release();
    expect(await waiting).toBe('y');
    await stopped;
    expect(isAlive(pids[0]!)).toBe(false);
  });

  test('without a grace refuses the requests that wait, breaks replies and ends the processes', async () => {
    const fake = await startPool();
    const pids = fake.pool.pids();
    const { events } = await fake.hold();
    const waiting = fake.ask('y').text();
    const broken = events.next();
    const stopped = fake.backend.stop(0);
    await expect(waiting).rejects.toMatchObject({ code: 'draining' });
    await expect(broken).rejects.toMatchObject({ code: 'draining' });
    await stopped;
    expect(isAlive(pids[0]!)).toBe(false);
  });

  test('sends SIGKILL to the group when SIGTERM is ignored', async () => {
    const fake = await startPool({}, { extraArgs: ['--fake-ignore-term'] });
    await fake.pool.stop();
    expect(fake.lines.at(-1)).toMatchObject({ event: 'worker_exit', signal: 'SIGKILL', reason: 'shutdown' });
  }, 15_000);
});

test("a request that the child refuses fails with the table's error, and the worker is kept", async () => {
  const fake = await startPool();
  const [pid] = fake.pool.pids();
  await expect(fake.ask('@refuse x').text()).rejects.toMatchObject({ code: 'invalid_value', status: 400 });
  await expect(fake.ask('@refuse-at-length').text()).rejects.toMatchObject({
    code: 'invalid_value',
    message: expect.stringMatching(/^(no ?){167}$/),
  });
  await expect(fake.ask('@long x').text()).rejects.toMatchObject({
    code: 'context_length_exceeded',
    status: 400,
    message: expect.stringContaining('maximum context length'),
  });
  expect(fake.pool.pids()).toEqual([pid]);
});
