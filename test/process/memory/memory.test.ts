import { EventEmitter, once } from 'node:events';
import { join } from 'node:path';
import { FixedBudget } from '../../../src/memory/budget.js';
import { ModelMemoryControl } from '../../../src/memory/control.js';
import { emptyFolder } from '../../support/folder.js';
import { firstText, TestPool, textOf } from '../../support/pool.js';

/** Pools of fake workers that sleep and wake, with room for some of them. */

const folder = emptyFolder();
const GIB = 2 ** 30;

let memory: Memory;
afterEach(() => memory.control.stop());

interface Options {
  /** How many models fit. */
  readonly room: number;
  /** How long a model waits before busy ones have to make room, milliseconds. */
  readonly patienceMs?: number;
  readonly idleMs?: number;
}

type PoolArguments = ConstructorParameters<typeof TestPool>;

/** Models that take a GiB each, by their own account. */
class Memory {
  readonly control: ModelMemoryControl;
  readonly models = new Map<string, TestPool>();
  /** What the pools and the control log, in order, as `event model`. */
  readonly log: string[] = [];
  readonly #events = new EventEmitter();

  constructor({ room, patienceMs = 60_000, idleMs = 0 }: Options) {
    this.control = new ModelMemoryControl({
      budget: new FixedBudget(room * GIB),
      idleMs,
      // A third of it is the longest patience.
      queueTimeoutMs: 3 * patienceMs,
      logger: logging((line) => this.#note(line)) as never,
    });
    this.control.start();
  }

  add(name: string, options: PoolArguments[0] = {}, worker: PoolArguments[1] = {}): TestPool {
    const model = new TestPool({ name, ...options }, worker);
    model.onLine = (line) => this.#note(line);
    this.models.set(name, model);
    this.control.add({ id: name, pool: model.pool, estimate: { host: GIB } });
    const settings = { isDefault: false, pin: false, preload: false };
    this.control.configure(new Map([...this.models.values()].map(({ pool }) => [pool, settings])));
    return model;
  }

  #note({ event, model, worker }: Record<string, any>): void {
    const text = `${event} ${model ?? worker?.split('#')[0]}`;
    this.log.push(text);
    this.#events.emit(text);
  }

  /** Resolves once this is logged, from now on. */
  next = (text: string): Promise<unknown> => once(this.#events, text);

  count = (text: string): number => this.log.filter((line) => line === text).length;
  indexOf = (text: string): number => this.log.indexOf(text);
}

/** Room for so many models, until the end of the test. */
function room(options: Options): Memory {
  memory = new Memory(options);
  return memory;
}

/** What the control writes. */
function logging(write: (line: object) => void) {
  return { info: write, warn: write, error: write, debug: write };
}

describe('a request for an unloaded model', () => {
  test('waits for the load, as do those that come meanwhile, in the order of the queue', async () => {
    const a = room({ room: 1 }).add('a');
    const order: string[] = [];
    const wait = async (name: string, priority: number) => {
      const lease = await a.pool.lease(new AbortController().signal, { priority });
      order.push(name);
      lease.release(true);
    };
    await Promise.all([wait('batch', -1), wait('plain', 0), wait('urgent', 1)]);
    expect(order).toEqual(['urgent', 'plain', 'batch']);
    expect(memory.count('worker_spawn a')).toBe(1);
  });

  test('is refused by a full queue and times out, with Retry-After, while the load goes on', async () => {
    const a = room({ room: 1 }).add(
      'a',
      { queueLimit: 1, queueTimeoutMs: 1 },
      { extraArgs: ['--fake-silent'] },
    );
    const waiting = a.ask('one').text();
    await expect(a.ask('two').text()).rejects.toMatchObject({ code: 'queue_full', retryAfter: 1 });
    await expect(waiting).rejects.toMatchObject({
      code: 'queue_timeout',
      message: 'Timed out waiting for the model to load',
      retryAfter: 1,
    });
    expect(a.pool.status()).toMatchObject({ ready: true, starting: false });
  });

  test('learns with its timeout which busy models have the memory', async () => {
    const a = room({ room: 1 }).add('a');
    const b = memory.add('b', { resumeTimeoutMs: 100 });
    const { release } = await a.hold();
    const { signal } = new AbortController();
    await expect(b.pool.lease(signal, { resumed: true })).rejects.toMatchObject({
      code: 'insufficient_memory',
      status: 503,
      message: 'The model b needs 1024 MiB of 1024 MiB; in memory: a 1024 MiB (busy)',
    });
    await release();
    expect(await b.ask('y').text()).toBe('y');
  });

  test('that leaves does not stop the load, and the model is idle at once', async () => {
    const a = room({ room: 1 }).add('a');
    const b = memory.add('b');
    const gone = new AbortController();
    const left = a.ask('never', gone.signal).text();
    const loaded = memory.next('model_loaded a');
    await memory.next('model_load a');
    gone.abort(new Error('gone'));
    await expect(left).rejects.toThrow('gone');
    await loaded;
    expect(a.pool.demand().waitingSince).toBeUndefined();
    expect(await b.ask('x').text()).toBe('x');
  });

  test('that may fall back is refused at once, and its model is loaded for the next one', async () => {
    const a = room({ room: 1 }).add('a');
    const loaded = memory.next('model_loaded a');
    const { signal } = new AbortController();
    await expect(a.pool.lease(signal, { mayWait: false })).rejects.toMatchObject({ code: 'queue_full' });
    await loaded;
    (await a.pool.lease(signal, { mayWait: false })).release(true);
  });
});

describe('an evicted model', () => {
  test('keeps its memory until its process has exited, and only then the other is started', async () => {
    const a = room({ room: 1 }).add('a', {}, { extraArgs: ['--fake-ignore-term'] });
    const b = memory.add('b');
    expect(await a.ask('one').text()).toBe('one');
    expect(await b.ask('two').text()).toBe('two');
    expect(memory.indexOf('worker_exit a')).toBeGreaterThan(0);
    expect(memory.indexOf('worker_spawn b')).toBeGreaterThan(memory.indexOf('worker_exit a'));
    expect(await a.ask('three').text()).toBe('three');
    expect(memory.log.filter((line) => line.startsWith('model_unload '))).toEqual([
      'model_unload a',
      'model_unload b',
    ]);
  });

  test('was idle: one that serves is held, finishes, and only then makes room', async () => {
    const a = room({ room: 1, patienceMs: 1 }).add('a');
    const b = memory.add('b');
    const held = memory.next('model_hold a');
    const running = await a.hold();
    const other = b.ask('two').text();
    await held;
    const later = a.ask('three').text();
    expect(memory.count('model_unload a')).toBe(0);
    await running.release();
    expect(await other).toBe('two');
    expect(await later).toBe('three');
    expect(memory.count('worker_spawn a')).toBe(2);
    expect(memory.count('worker_failed_request a')).toBe(0);
  });

  test('is not one whose reply has lost its worker: the reply is resumed first', async () => {
    const a = room({ room: 1, patienceMs: 1 }).add('a');
    const b = memory.add('b');
    const held = memory.next('model_hold a');
    const gone = new AbortController();
    const { events, context } = a.ask('@hold one two three', gone.signal);
    await firstText(events);
    const first = context.trace.worker;
    const reading = textOf(events).catch((error: Error) => error.message);
    const other = b.ask('four').text();
    await held;
    await a.killOutside();
    while (context.trace.worker === first) await new Promise(setImmediate);
    expect(context.trace.resumes).toBe(1);
    expect(memory.count('model_unload a')).toBe(0);
    gone.abort(new Error('gone'));
    expect(await reading).toBe('gone');
    expect(await other).toBe('four');
    expect(memory.count('model_unload a')).toBe(1);
  });

  test('gives slots to the further choices of a request that has begun', async () => {
    const a = room({ room: 1, patienceMs: 1 }).add('a');
    const b = memory.add('b');
    const slots = { held: 0 };
    const { signal } = new AbortController();
    const first = await a.pool.lease(signal, { slots });
    const others = [a.pool.lease(signal, { slots }), a.pool.lease(signal, { slots })];
    const held = memory.next('model_hold a');
    const other = b.ask('x').text();
    await held;
    first.release(true);
    for (const choice of others) (await choice).release(true);
    expect(memory.count('model_unload a')).toBe(0);
    expect(await other).toBe('x');
  });
});

describe('two models in turn', () => {
  test('are loaded a few times, not for every request, and everybody is served', async () => {
    const a = room({ room: 1, patienceMs: 500 }).add('a');
    const b = memory.add('b');
    const callers = Array.from({ length: 8 }, async (_, caller) => {
      for (let turn = 0; turn < 6; turn += 1) {
        const model = (turn + caller) % 2 === 0 ? a : b;
        expect(await model.ask(`${caller} ${turn}`).text()).toBe(`${caller} ${turn}`);
      }
    });
    await Promise.all(callers);
    const loads = memory.count('model_load a') + memory.count('model_load b');
    expect(loads).toBeGreaterThan(1);
    expect(loads).toBeLessThanOrEqual(16);
  });
});

describe('a model that cannot be loaded', () => {
  test('is given up after some tries, with the reason, and the others go on', async () => {
    const a = room({ room: 1 }).add('a', {}, { extraArgs: ['--fake-exit'] });
    const b = memory.add('b');
    const [failed, served] = await Promise.allSettled([a.ask('x').text(), b.ask('y').text()]);
    expect(failed).toMatchObject({
      reason: { code: 'unavailable', message: expect.stringMatching(/exit code 7.*failed to load model/) },
    });
    expect(served).toMatchObject({ value: 'y' });
    expect(a.pool.status()).toMatchObject({ ready: false, state: 'failed' });
    expect(memory.control.models()[0]).toMatchObject({
      state: 'failed',
      error: expect.stringMatching(/exit code 7/),
    });
    await expect(a.ask('z').text()).rejects.toMatchObject({ code: 'unavailable', retryAfter: 1 });
    expect(b.pool.status().ready).toBe(true);
  });

  test('is no reason to give up one whose loading worker is killed: it is started again', async () => {
    const a = room({ room: 1 }).add('a');
    const spawned = a.next('worker_spawn');
    const reply = a.ask('one').text();
    process.kill((await spawned).pid, 'SIGKILL');
    expect(await reply).toBe('one');
    expect(memory.count('model_load a')).toBe(1);
  });
});

describe('a worker of a loaded model that is killed', () => {
  test('is replaced, and its model stays where it is', async () => {
    const a = room({ room: 1 }).add('a');
    expect(await a.ask('one').text()).toBe('one');
    await a.killOutside();
    expect(await a.ask('two').text()).toBe('two');
    expect(memory.log.filter((line) => line.startsWith('model_'))).toEqual([
      'model_load a',
      'model_loaded a',
    ]);
  });

  test('is not replaced once the model is unloaded', async () => {
    const a = room({ room: 1 }).add('a', { workers: 2 });
    expect(await a.ask('one').text()).toBe('one');
    await a.killOutside();
    await memory.control.unload('a');
    expect(a.pool.pids()).toEqual([]);
    expect(a.pool.status()).toMatchObject({ state: 'unloaded', ready: true, workers: { total: 0, dead: 0 } });
    expect(memory.count('worker_exit a')).toBe(memory.count('worker_spawn a'));
  });
});

test('a model that is unloaded while it loads is loaded again for a request that waits', async () => {
  const a = room({ room: 1 }).add('a');
  const reply = a.ask('one').text();
  await memory.next('model_load a');
  await memory.control.unload('a');
  expect(await reply).toBe('one');
  expect(memory.count('model_load a')).toBe(2);
});

test('requests that wait for a load are refused when the pool is stopped', async () => {
  const a = room({ room: 1 }).add('a', {}, { extraArgs: ['--fake-silent'] });
  const reply = a.ask('one').text();
  await memory.next('model_load a');
  memory.control.stop();
  const refused = expect(reply).rejects.toMatchObject({ code: 'draining' });
  await a.backend.stop(0);
  await refused;
  expect(a.pool.pids()).toEqual([]);
});

test('a reply that dies once and is resumed counts as use until its end', async () => {
  const a = room({ room: 1, patienceMs: 1 }).add('a');
  const b = memory.add('b');
  const words = 'one two three four five';
  const replies = await Promise.all([
    a.ask(`@die-once:${join(folder, 'died')} ${words}`).text(),
    b.ask('other').text(),
  ]);
  expect(replies).toEqual([words, 'other']);
});
