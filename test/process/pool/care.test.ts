import { copyFileSync, mkdirSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { emptyFolder } from '../../support/folder.js';
import { FAKE, isAlive, startPool, TestPool, textOf } from '../../support/pool.js';

/** What the pool does of its own accord: checks, recycling, quarantine. */

const folder = emptyFolder();
const modelPath = join(folder, 'model.gguf');

/** Lines of a worker's stderr, which tell what it was asked; ends it. */
const stderrOf = async (fake: TestPool): Promise<string[]> => (await fake.killOutside()).stderr;

describe('an idle worker', () => {
  const QUICK = { timeouts: { tokenMs: 100 } };

  test('with an empty cache is checked with a token, and one that has served with its health', async () => {
    const fake = await startPool({ checkIntervalMs: 1_000_000 });
    const [worker] = fake.pool.workers();
    await worker!.check();
    await fake.ask('hello').text();
    await worker!.check();
    expect((await stderrOf(fake)).slice(-4)).toEqual(['probe', 'request hello', 'closed hello', 'health']);
  });

  test('that is in use is not checked', async () => {
    const fake = await startPool();
    const { release } = await fake.hold();
    await fake.pool.workers()[0]!.check();
    expect((await stderrOf(fake)).join()).not.toMatch(/health|probe/);
    await release().catch(() => undefined);
  });

  test('that was stopped becomes suspect, receives no requests and is replaced after three misses', async () => {
    const fake = await startPool({ workers: 2, checkIntervalMs: 50 }, QUICK);
    const [stopped] = fake.pool.workers();
    process.kill(stopped!.pid!, 'SIGSTOP');
    expect(await fake.next('worker_suspected')).toMatchObject({ worker: stopped!.id });
    const { text, context } = fake.ask('served by the other');
    expect(await text()).toBe('served by the other');
    expect(context.trace.worker).not.toBe(stopped!.id);
    const exit = fake.logged('worker_exit')[0] ?? (await fake.next('worker_exit'));
    expect(exit).toMatchObject({
      worker: stopped!.id,
      cause: 'hung',
      reason: 'hung: it does not reply to probes',
    });
  });

  test('that replies again before the third miss is kept', async () => {
    const fake = await startPool({ checkIntervalMs: 50 }, QUICK);
    const [worker] = fake.pool.workers();
    process.kill(worker!.pid!, 'SIGSTOP');
    await fake.next('worker_suspected');
    process.kill(worker!.pid!, 'SIGCONT');
    expect(await fake.ask('thanks').text()).toBe('thanks');
    expect(fake.logged('worker_exit')).toEqual([]);
  });

  test('that replies with its health but generates nothing is detected by a probe', async () => {
    const fake = new TestPool({ checkIntervalMs: 20 }, { ...QUICK, extraArgs: ['--fake-mute'] });
    fake.pool.start();
    expect(await fake.next('worker_exit')).toMatchObject({ cause: 'hung' });
  });

  test('that lives although its connection broke must reply to a probe first', async () => {
    const fake = await startPool({ checkIntervalMs: 1_000_000 });
    await expect(fake.ask('@cut one', undefined, { logprobs: true }).text()).rejects.toThrow();
    expect(fake.logged('worker_suspected')).toHaveLength(1);
    expect(await fake.ask('well again').text()).toBe('well again');
    expect(await stderrOf(fake)).toContain('probe');
  });
});

describe('recycling', () => {
  test('replaces one worker at a time without failing a request', async () => {
    const fake = await startPool({ workers: 3, recycling: { requests: 5 } });
    while (fake.logged('worker_recycle').length < 4) {
      const replies = Array.from({ length: 30 }, (_, n) => fake.ask(`number ${n}`).text());
      expect((await Promise.all(replies)).at(-1)).toBe('number 29');
    }
    const ends = fake.lines.filter(({ event }) => ['worker_recycle', 'worker_ready'].includes(event));
    const recycled = ends.slice(3);
    // Each is followed by its successor's readiness before the next begins.
    recycled.forEach(({ event }, n) => expect(event).toBe(n % 2 === 0 ? 'worker_recycle' : 'worker_ready'));
    expect(fake.logged('worker_exit').every(({ cause }) => cause === 'recycled')).toBe(true);
  });

  test('keeps a single worker until its successor serves', async () => {
    const fake = await startPool({ recycling: { requests: 1 } });
    const [old] = fake.pool.workers();
    const ready = fake.next('worker_ready');
    await fake.ask('one').text();
    expect(fake.pool.status().workers).toMatchObject({ idle: 1, starting: 1, dead: 0 });
    await ready;
    expect(await fake.next('worker_exit')).toMatchObject({ worker: old!.id, cause: 'recycled', code: 0 });
    expect(fake.pool.pids()).toHaveLength(1);
  });

  test('replaces a successor that dies while the old worker finishes a reply', async () => {
    const fake = await startPool({ recycling: { requests: 1 } }, { slots: 2 });
    const { release } = await fake.hold();
    const ready = fake.next('worker_ready');
    await fake.ask('short').text();
    const { pid } = await ready;
    const next = fake.next('worker_ready');
    await fake.killOutside(pid);
    expect((await next).pid).not.toBe(pid);
    expect(await fake.ask('served').text()).toBe('served');
    await release();
  });

  test('lets a running reply finish first', async () => {
    const fake = await startPool({ workers: 2, recycling: { requests: 1 } }, { slots: 2 });
    const { context, release } = await fake.hold();
    const other = fake.pool.workers().find(({ id }) => id !== context.trace.worker)!;
    process.kill(other.pid!, 'SIGKILL');
    await fake.next('worker_exit');
    await fake.ask('short').text();
    expect(fake.logged('worker_recycle')[0]).toMatchObject({
      worker: context.trace.worker,
      limit: 'requests',
    });
    expect(isAlive(fake.pool.workers().find(({ id }) => id === context.trace.worker)!.pid!)).toBe(true);
    const exit = fake.next('worker_exit');
    await release();
    expect(await exit).toMatchObject({ worker: context.trace.worker, cause: 'recycled' });
  });

  test('is triggered when the path of the binary leads to another build, which the successor runs', async () => {
    const link = join(folder, 'build');
    for (const build of ['one', 'two']) {
      mkdirSync(join(folder, build));
      copyFileSync(FAKE, join(folder, build, 'llama.mjs'));
    }
    symlinkSync(join(folder, 'one'), link);
    const binary = { path: join(link, 'llama.mjs'), kind: 'llama-cli' } as const;
    const fake = await startPool({ checkIntervalMs: 20 }, { binary });
    const exit = fake.next('worker_exit');
    symlinkSync(join(folder, 'two'), `${link}.new`);
    renameSync(`${link}.new`, link);
    expect(await fake.next('worker_recycle')).toMatchObject({ limit: 'build' });
    expect(await exit).toMatchObject({ cause: 'recycled' });
    expect(await fake.ask('served').text()).toBe('served');
    expect(fake.logged('worker_recycle')).toHaveLength(1);
  });

  test('is triggered by memory and by age in the regular checks', async () => {
    const fake = await startPool({ checkIntervalMs: 20, recycling: { memoryBytes: 1 } });
    expect(await fake.next('worker_recycle')).toMatchObject({
      limit: 'memoryBytes',
      memoryBytes: expect.any(Number),
    });
    const aging = await startPool({ checkIntervalMs: 20, recycling: { ageMs: 1 } });
    expect(await aging.next('worker_recycle')).toMatchObject({ limit: 'ageMs' });
  });
});

test('content that crashes workers is refused after two crashes, while other content is served and hangs and kills do not count', async () => {
  const fake = await startPool({ workers: 2 });
  await expect(fake.ask('@crash please').text()).rejects.toMatchObject({
    code: 'prompt_quarantined',
    status: 422,
  });
  expect(fake.logged('worker_exit').map(({ cause }) => cause)).toEqual(['crashed', 'crashed']);
  await expect(fake.ask('@crash please', undefined, { seed: 2 }).text()).rejects.toMatchObject({
    code: 'prompt_quarantined',
  });
  expect(fake.logged('worker_exit')).toHaveLength(2);
  expect(await fake.ask('harmless').text()).toBe('harmless');
  for (let i = 0; i < 2; i += 1)
    await expect(fake.ask('@die-in-prefill x').text()).rejects.toMatchObject({ code: 'generation_failed' });
  expect(await fake.ask('harmless').text()).toBe('harmless');
});

test('a replaced model file is logged when a worker starts with it, and the other workers keep serving', async () => {
  writeFileSync(modelPath, 'one');
  const fake = await startPool({ workers: 2 }, { modelPath });
  const [, second] = fake.pool.pids();
  writeFileSync(modelPath, 'another one');
  utimesSync(modelPath, 1, 1);
  const changed = fake.next('model_changed');
  await fake.killOutside();
  expect(await changed).toMatchObject({
    before: { size: 3 },
    now: { size: 11, modified: '1970-01-01T00:00:01.000Z' },
  });
  expect(isAlive(second!)).toBe(true);
  expect(fake.logged('model_changed')).toHaveLength(1);
});

test.each([
  ['ELOOP', (path: string) => symlinkSync(path, path)],
  ['ENOTDIR', (path: string) => symlinkSync('/dev/null/model.gguf', path)],
])('a model file whose state cannot be read (%s) is logged, and workers are started', async (code, spoil) => {
  writeFileSync(modelPath, 'one');
  const fake = await startPool({}, { modelPath });
  rmSync(modelPath);
  spoil(modelPath);
  const changed = fake.next('model_changed');
  const ready = fake.next('worker_ready');
  await fake.killOutside();
  expect(await changed).toMatchObject({ now: { error: code }, msg: 'the model file cannot be read' });
  await ready;
  expect(await fake.ask('served').text()).toBe('served');
});

test('a missing temporary folder is a failed start that is retried until the folder is back', async () => {
  const TMPDIR = join(folder, 'tmp');
  const env = { ...process.env, TMPDIR };
  const fake = new TestPool({ env }, { binary: { path: FAKE, kind: 'llama-server' } });
  fake.pool.start();
  while (fake.logged('worker_exit').length < 6) await fake.next('worker_exit');
  const failed = { cause: 'start_failed', reason: 'cannot be run: no temporary folder (ENOENT)' };
  for (const line of fake.logged('worker_exit')) expect(line).toMatchObject(failed);
  await expect(fake.ask('x').text()).rejects.toMatchObject({
    code: 'unavailable',
    message: 'No worker can be started: cannot be run: no temporary folder (ENOENT)',
  });
  mkdirSync(TMPDIR);
  await fake.next('worker_ready');
  expect(await fake.ask('served').text()).toBe('served');
});

describe('the worker for a request', () => {
  const long = (name: string) => `${name} ${'some words of a conversation '.repeat(20)}`;

  test("is the one that has the conversation's beginning cached", async () => {
    const fake = await startPool({ workers: 3 });
    const first = fake.ask(long('one'));
    const said = await first.text();
    for (const name of ['two', 'three', 'four', 'five']) await fake.ask(long(name)).text();
    const messages = [
      { role: 'user', content: long('one') },
      { role: 'assistant', content: said },
      { role: 'user', content: 'and then?' },
    ];
    const next = fake.run({ kind: 'chat', n: 1, body: { messages } });
    await textOf(next.events);
    expect(next.context.trace.worker).toBe(first.context.trace.worker);
  });

  test('is another one when that one is in use', async () => {
    const fake = await startPool({ workers: 2 });
    const first = await fake.hold(`@hold ${long('one')}`);
    const again = await fake.hold(`@hold ${long('one')}`);
    expect(again.context.trace.worker).not.toBe(first.context.trace.worker);
    await Promise.all([first.release(), again.release()]);
  });
});
