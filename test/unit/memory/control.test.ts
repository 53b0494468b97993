import { setImmediate as turn } from 'node:timers/promises';
import { pino } from 'pino';
import type { ModelState } from '../../../src/contract.js';
import { LMServError } from '../../../src/errors.js';
import { FixedBudget, type Budget } from '../../../src/memory/budget.js';
import { ModelMemoryControl, type ModelSettings, type SleepingPool } from '../../../src/memory/control.js';
import type { Keeper, Outlook, PoolDemand } from '../../../src/pool/pool.js';
import type { PoolMemory } from '../../../src/pool/memory.js';

const MIB = 2 ** 20;

/** A pool whose workers do what the test says. */
class FakePool implements SleepingPool {
  readonly steps: string[] = [];
  keeper!: Keeper;
  awake = false;
  loaded = false;
  inCrashLoop = false;
  failing: string | undefined;
  reported: number | undefined;
  resident = 0;
  refusals: LMServError[] = [];
  #running = false;
  #waitingSince: number | undefined;
  #missed = false;
  #gone: (() => void) | undefined;
  readonly #now: () => number;
  readonly started = Promise.resolve(true);

  constructor(now: () => number) {
    this.#now = now;
  }

  keep(keeper: Keeper): void {
    this.keeper = keeper;
  }

  start(): void {
    this.steps.push('start');
    this.awake = true;
  }

  wake(): void {
    this.steps.push('wake');
    this.awake = true;
  }

  /** The process is there until `exit`. */
  sleep(): Promise<void> {
    this.steps.push('sleep');
    const wasAwake = this.awake;
    this.awake = this.loaded = false;
    return wasAwake ? new Promise((resolve) => (this.#gone = resolve)) : Promise.resolve();
  }

  hold(on: boolean): void {
    this.steps.push(on ? 'hold' : 'serve');
  }

  refuseWaiting(reason: () => LMServError): void {
    this.refusals.push(reason());
    this.#waitingSince = undefined;
  }

  demand(): PoolDemand {
    return { running: this.#running, waitingSince: this.#waitingSince, lastUsed: this.#lastUsed };
  }

  takeMissed(): boolean {
    const missed = this.#missed;
    this.#missed = false;
    return missed;
  }

  get outlook(): Outlook {
    return this.keeper.outlook();
  }

  get failure(): string | undefined {
    return this.awake ? this.failing : this.outlook.failure;
  }

  get state(): ModelState {
    if (this.loaded) return 'loaded';
    if (this.failure !== undefined) return 'failed';
    return this.awake ? 'loading' : 'unloaded';
  }

  memory(): PoolMemory {
    const { reported, resident } = this;
    const all = reported === undefined ? undefined : { host: reported * MIB };
    return { reported: all, resident: { host: resident * MIB }, anonymous: resident * MIB };
  }

  #lastUsed: number | undefined;

  /** A request comes and waits. */
  async ask(): Promise<void> {
    this.#waitingSince ??= this.#now();
    await this.#change();
  }

  /** Whoever waits leaves. */
  async leave(): Promise<void> {
    this.#waitingSince = undefined;
    await this.#change();
  }

  /** The first worker is ready, and serves whoever waits. */
  async ready(): Promise<void> {
    this.loaded = true;
    this.run(this.#waitingSince !== undefined);
    this.#waitingSince = undefined;
    await this.#change();
  }

  run(running: boolean): void {
    this.#running = running;
    this.#lastUsed = this.#now();
  }

  async finish(): Promise<void> {
    this.run(false);
    await this.#change();
  }

  async miss(): Promise<void> {
    this.#missed = true;
    await this.#change();
  }

  async crash(reason: string): Promise<void> {
    this.loaded = false;
    this.inCrashLoop = true;
    this.failing = reason;
    this.#waitingSince = undefined;
    await this.#change();
  }

  /** Its last process has exited. */
  async exit(): Promise<void> {
    this.#gone!();
    await settle();
  }

  async #change(): Promise<void> {
    this.keeper.changed();
    await settle();
  }
}

/** Lets the plan be made that was called for. */
async function settle(): Promise<void> {
  for (let turns = 0; turns < 4; turns += 1) await turn();
}

const NOT_SPECIAL: ModelSettings = { isDefault: false, pin: false, preload: false };

/** A control of pools of 100 MiB each, with its clock in the hand of the test. */
class Bench {
  now = 1_000;
  readonly pools: Record<string, FakePool> = {};
  readonly control: ModelMemoryControl;
  readonly lines: any[] = [];
  readonly events: string[] = [];
  #timer: { readonly at: number; readonly done: () => void } | undefined;
  readonly #settings = new Map<SleepingPool, ModelSettings>();

  constructor(budget: number | Budget, idleMs = 0) {
    const logger = pino({ level: 'debug' }, { write: (line) => void this.lines.push(JSON.parse(line)) });
    const note = (text: string) => void this.events.push(text);
    this.control = new ModelMemoryControl({
      budget: typeof budget === 'number' ? new FixedBudget(budget * MIB) : budget,
      idleMs,
      queueTimeoutMs: 30_000,
      logger,
      observer: {
        modelLoaded: ({ model, ms }: { model: string; ms: number }) => note(`${model} loaded ${ms}`),
        modelUnloaded: ({ model, reason }: { model: string; reason: string }) => note(`${model} ${reason}`),
      } as never,
      clock: {
        now: () => this.now,
        after: (ms, done) => {
          const timer = (this.#timer = { at: this.now + ms, done });
          return () => {
            if (this.#timer === timer) this.#timer = undefined;
          };
        },
      },
    });
  }

  add(id: string, settings: Partial<ModelSettings> = {}, mib = 100): FakePool {
    const pool = new FakePool(() => this.now);
    this.pools[id] = pool;
    this.control.add({ id, pool, estimate: { host: mib * MIB } });
    this.#settings.set(pool, { ...NOT_SPECIAL, ...settings });
    this.control.configure(this.#settings);
    return pool;
  }

  /** It no longer serves under its id. */
  replace(id: string): FakePool {
    this.#settings.delete(this.pools[id]!);
    return this.add(id);
  }

  async start(): Promise<this> {
    this.control.start();
    await settle();
    return this;
  }

  async pass(ms: number): Promise<void> {
    this.now += ms;
    const timer = this.#timer;
    if (timer && timer.at <= this.now) {
      this.#timer = undefined;
      timer.done();
    }
    await settle();
  }

  /** Brings a model into memory; it is idle then. */
  async load(id: string, ms = 0): Promise<FakePool> {
    const pool = this.pools[id]!;
    await pool.ask();
    this.now += ms;
    await pool.ready();
    await pool.finish();
    return pool;
  }

  stateOf = (id: string) => this.control.models().find((model) => model.id === id)!;
}

const benches: Bench[] = [];
function bench(...args: ConstructorParameters<typeof Bench>): Bench {
  const made = new Bench(...args);
  benches.push(made);
  return made;
}

afterEach(() => {
  for (const { control } of benches.splice(0)) control.stop();
});

describe('at the start', () => {
  test('the default model, the pinned and the preloaded ones are loaded, the others are not', async () => {
    const b = bench(1_000);
    b.add('default', { isDefault: true });
    b.add('pinned', { pin: true });
    b.add('preloaded', { preload: true });
    b.add('other');
    await b.start();
    expect(Object.values(b.pools).map(({ steps }) => steps)).toEqual([['start'], ['start'], ['start'], []]);
    expect(b.control.models().map(({ id, state, pinned }) => [id, state, pinned])).toEqual([
      ['default', 'loading', false],
      ['pinned', 'loading', true],
      ['preloaded', 'loading', false],
      ['other', 'unloaded', false],
    ]);
  });

  test('what does not fit beside the default model is loaded when somebody asks for it', async () => {
    const b = bench(150);
    const kept = b.add('default', { isDefault: true });
    const other = b.add('preloaded', { preload: true });
    await b.start();
    await kept.ready();
    expect(other.steps).toEqual([]);
    await other.ask();
    expect(kept.steps.at(-1)).toBe('sleep');
    await kept.exit();
    expect(other.steps).toEqual(['start']);
  });
});

describe('a request for an unloaded model', () => {
  test('loads it once, however many come', async () => {
    const b = bench(1_000);
    const pool = b.add('a');
    await b.start();
    await Promise.all([pool.ask(), pool.ask()]);
    await pool.ask();
    expect(pool.steps).toEqual(['wake']);
  });

  test('evicts another only when that is idle, and loads only when its process is gone', async () => {
    const b = bench(150);
    b.add('a');
    const pool = b.add('b');
    const a = await (await b.start()).load('a');
    a.run(true);
    await pool.ask();
    expect(a.steps).toEqual(['wake']);
    await a.finish();
    expect(a.steps.at(-1)).toBe('sleep');
    expect(pool.steps).toEqual([]);
    expect(b.events).toEqual(['a loaded 0']);
    await a.exit();
    expect(pool.steps).toEqual(['wake']);
    expect(b.events.at(-1)).toBe('a evicted');
  });

  test('that leaves before the load has ended leaves an idle model, which others may evict', async () => {
    const b = bench(150);
    const a = b.add('a');
    const other = b.add('b');
    await b.start();
    await a.ask();
    await a.leave();
    await other.ask();
    expect(a.steps).toEqual(['wake']);
    await a.ready();
    expect(a.steps).toEqual(['wake', 'sleep']);
    await a.exit();
    expect(other.steps).toEqual(['wake']);
  });

  test('that comes while its model is being unloaded loads it again', async () => {
    const b = bench(150, 10_000);
    const a = await (b.add('a'), (await b.start()).load('a'));
    await b.pass(10_000);
    expect(a.steps).toEqual(['wake', 'sleep']);
    await a.ask();
    expect(a.steps).toEqual(['wake', 'sleep']);
    await a.exit();
    expect(a.steps).toEqual(['wake', 'sleep', 'wake']);
  });

  test('that must not wait is served elsewhere, and its model comes into memory if others are idle', async () => {
    const b = bench(150);
    b.add('a');
    const pool = b.add('b');
    const a = await (await b.start()).load('a');
    a.run(true);
    await pool.miss();
    await b.pass(60_000);
    expect(a.steps).toEqual(['wake']);
    await a.finish();
    await a.exit();
    expect(pool.steps).toEqual(['wake']);
  });
});

describe('turns', () => {
  test('a busy model is held after the patience of another, serves on if that leaves, and else makes room', async () => {
    const b = bench(150);
    b.add('a');
    const other = b.add('b');
    const a = await (await b.start()).load('a');
    a.run(true);
    await other.ask();
    await b.pass(1_999);
    expect(a.steps).toEqual(['wake']);
    await b.pass(1);
    expect(a.steps).toEqual(['wake', 'hold']);
    await other.leave();
    expect(a.steps).toEqual(['wake', 'hold', 'serve']);
    await other.ask();
    await b.pass(2_000);
    await a.ask();
    await a.finish();
    expect(a.steps).toEqual(['wake', 'hold', 'serve', 'hold', 'sleep', 'serve']);
    await a.exit();
    expect(other.steps).toEqual(['wake']);
  });
});

describe('an idle model', () => {
  test('is unloaded after the idle time, counted from the end of its last reply', async () => {
    const b = bench(1_000, 10_000);
    b.add('a');
    const a = await (await b.start()).load('a');
    a.run(true);
    await b.pass(30_000);
    await a.finish();
    await b.pass(9_999);
    expect(a.steps).toEqual(['wake']);
    await b.pass(1);
    expect(a.steps).toEqual(['wake', 'sleep']);
    await a.exit();
    expect(b.events).toEqual(['a loaded 0', 'a idle']);
    expect(b.stateOf('a')).toMatchObject({ state: 'unloaded', busy: false });
  });
});

describe('a model that does not fit', () => {
  test('is refused with the numbers, and tried again with the next request', async () => {
    const b = bench(150);
    b.add('pinned', { pin: true });
    const large = b.add('large', {}, 120);
    await b.start();
    await b.pools.pinned!.ready();
    await large.ask();
    expect(large.refusals).toMatchObject([
      {
        code: 'insufficient_memory',
        status: 503,
        retryAfter: undefined,
        message: 'The model large needs 120 MiB of 150 MiB; in memory: pinned 100 MiB (pinned)',
      },
    ]);
    expect(b.stateOf('large')).toMatchObject({ state: 'failed', error: large.refusals[0]!.message });
    b.control.unpin('pinned');
    await settle();
    await large.ask();
    expect(large.refusals).toHaveLength(1);
    await b.pools.pinned!.exit();
    expect(large.steps).toEqual(['wake']);
  });

  test('beside a busy one learns whom it waits for', async () => {
    const b = bench(150);
    b.add('a');
    const other = b.add('b');
    const a = await (await b.start()).load('a');
    a.run(true);
    await other.ask();
    expect(other.outlook.obstacle).toBe('The model b needs 100 MiB of 150 MiB; in memory: a 100 MiB (busy)');
  });
});

describe('a model that cannot be started', () => {
  test('is unloaded, and not tried again before a pause that grows', async () => {
    const b = bench(150);
    const a = b.add('a');
    await b.start();
    await a.ask();
    await a.crash('exit code 1');
    expect(a.steps).toEqual(['wake', 'sleep']);
    expect(b.stateOf('a')).toMatchObject({ state: 'failed', error: 'No worker can be started: exit code 1' });
    expect(a.outlook).toMatchObject({ failure: 'No worker can be started: exit code 1', pauseMs: 1_000 });
    await a.exit();
    await b.pass(1_000);
    await a.ask();
    expect(a.steps).toEqual(['wake', 'sleep', 'wake']);
    await a.crash('exit code 1');
    expect(a.outlook.pauseMs).toBe(2_000);
    expect(b.events).toEqual(['a failed']);
  });

  test('for lack of memory makes more room the next time', async () => {
    const b = bench(250);
    b.add('idle');
    const a = b.add('a');
    const idle = await (await b.start()).load('idle');
    await a.ask();
    await a.crash('out of memory: 50 MiB more do not fit into CUDA0');
    await a.exit();
    await b.pass(1_000);
    await a.ask();
    expect(idle.steps).toEqual(['wake', 'sleep']);
    await idle.exit();
    expect(a.steps).toEqual(['wake', 'sleep', 'wake']);
  });

  test('does not keep others from being loaded', async () => {
    const b = bench(150);
    const a = b.add('a');
    const other = b.add('b');
    await b.start();
    await a.ask();
    await other.ask();
    await a.crash('exit code 1');
    await a.exit();
    expect(other.steps).toEqual(['wake']);
  });

  test('stays with its supervisor if it is the default model or pinned', async () => {
    const b = bench(1_000);
    b.add('default', { isDefault: true });
    b.add('pinned', { pin: true });
    await b.start();
    for (const pool of Object.values(b.pools)) {
      await pool.crash('exit code 1');
      expect(pool.steps).toEqual(['start']);
    }
  });
});

test('a model has room for one more worker where it would fit again', async () => {
  const b = bench(250);
  b.add('a');
  const a = await (await b.start()).load('a');
  expect(a.keeper.hasRoom()).toBe(true);
  b.add('b');
  await b.load('b');
  expect(a.keeper.hasRoom()).toBe(false);
});

describe('what a model needs', () => {
  test('is an estimate until llama.cpp and the system have said it', async () => {
    const b = bench(1_000);
    const a = b.add('a', {}, 100);
    await b.start();
    expect(b.stateOf('a')).toMatchObject({ bytes: 100 * MIB, estimated: true });
    a.reported = 40;
    a.resident = 60;
    await b.load('a');
    expect(b.stateOf('a')).toMatchObject({ bytes: 60 * MIB, estimated: false });
  });

  test('that has grown counts, and is forgotten when it is unloaded', async () => {
    const b = bench(200);
    b.add('a').reported = 40;
    b.add('b');
    const a = await (await b.start()).load('a');
    a.resident = 120;
    await b.pools.b!.ask();
    expect(a.steps).toEqual(['wake', 'sleep']);
    expect(b.stateOf('a').bytes).toBe(120 * MIB);
    await a.exit();
    expect(b.stateOf('a').bytes).toBe(40 * MIB);
  });
});

describe('how long a load takes', () => {
  test('is expected as the last time, or as others took for their size', async () => {
    const b = bench(1_000);
    b.add('a');
    const other = b.add('b', {}, 200);
    await (await b.start()).load('a', 500);
    expect(b.stateOf('a').loadMs).toBe(500);
    expect(other.outlook.untilLoadedMs).toBeCloseTo(1_000);
    await other.ask();
    b.now += 400;
    expect(other.outlook.untilLoadedMs).toBeCloseTo(600);
    b.now += 10_000;
    expect(other.outlook.untilLoadedMs).toBeCloseTo(520);
  });
});

describe('an operator', () => {
  test('loads a model and learns when it can serve', async () => {
    const b = bench(1_000);
    const a = b.add('a');
    await b.start();
    const loaded = b.control.load('a');
    await settle();
    await a.ready();
    await loaded;
    await b.control.load('a');
    expect(a.steps).toEqual(['wake']);
  });

  test('learns why a model cannot be loaded', async () => {
    const b = bench(50);
    const a = b.add('a');
    await b.start();
    await expect(b.control.load('a')).rejects.toMatchObject({ code: 'insufficient_memory' });
    const failing = bench(150);
    const pool = failing.add('a');
    await failing.start();
    const loaded = failing.control.load('a');
    const refused = expect(loaded).rejects.toMatchObject({ code: 'unavailable', message: /exit code 1/ });
    await settle();
    await pool.crash('exit code 1');
    await refused;
    expect(a.steps).toEqual([]);
  });

  test('unloads a busy model when its replies have ended', async () => {
    const b = bench(1_000);
    b.add('a');
    const a = await (await b.start()).load('a');
    a.run(true);
    let unloaded = false;
    const done = b.control.unload('a').then(() => (unloaded = true));
    await settle();
    expect(a.steps).toEqual(['wake', 'hold']);
    await a.finish();
    expect(a.steps).toEqual(['wake', 'hold', 'sleep', 'serve']);
    expect(unloaded).toBe(false);
    await a.exit();
    await done;
    expect(b.events.at(-1)).toBe('a operator');
  });

  test('unloads a model that is loading, and whoever wanted it loaded is told', async () => {
    const b = bench(1_000);
    const a = b.add('a');
    await b.start();
    const refused = expect(b.control.load('a')).rejects.toMatchObject({ code: 'unavailable' });
    await settle();
    const done = b.control.unload('a');
    await settle();
    await refused;
    await a.exit();
    await done;
    expect(a.steps).toEqual(['wake', 'sleep']);
  });

  test('unloads nothing that is not there, and no pinned model', async () => {
    const b = bench(1_000);
    const a = b.add('a', { pin: true });
    b.add('b');
    await b.start();
    await a.ready();
    await b.control.unload('b');
    await expect(b.control.unload('a')).rejects.toMatchObject({ code: 'invalid_value' });
    expect(a.steps).toEqual(['start']);
  });

  test('pins a model, which loads it and keeps it, until it is unpinned', async () => {
    const b = bench(1_000, 10_000);
    const a = b.add('a');
    await b.start();
    b.control.pin('a');
    await settle();
    await a.ready();
    await b.pass(60_000);
    expect(b.stateOf('a')).toMatchObject({ pinned: true, state: 'loaded' });
    b.control.unpin('a');
    await settle();
    expect(a.steps).toEqual(['wake', 'sleep']);
  });

  test('cannot name a model that is not there', async () => {
    const b = await bench(1_000).start();
    await expect(b.control.load('x')).rejects.toMatchObject({ code: 'model_not_found' });
    await expect(b.control.unload('x')).rejects.toMatchObject({ code: 'model_not_found' });
    expect(() => b.control.pin('x')).toThrow(LMServError);
    expect(() => b.control.unpin('x')).toThrow(LMServError);
  });
});

describe('a changed configuration', () => {
  const PREPARED = { ...NOT_SPECIAL };

  test('loads the successor of a model in memory beside it, if there is room', async () => {
    const b = bench(250);
    b.add('a');
    await (await b.start()).load('a');
    const successor = new FakePool(() => b.now);
    b.control.add({ id: 'a', pool: successor, estimate: { host: 100 * MIB } });
    expect(await b.control.prepare(successor, PREPARED)).toBe(true);
    expect(successor.steps).toEqual(['wake']);
    expect(b.pools.a!.steps).toEqual(['wake']);
  });

  test('loads it after the other has gone, if there is none', async () => {
    const b = bench(150);
    const old = b.add('a');
    old.run(false);
    await (await b.start()).load('a');
    old.run(true);
    const successor = new FakePool(() => b.now);
    b.control.add({ id: 'a', pool: successor, estimate: { host: 100 * MIB } });
    expect(await b.control.prepare(successor, PREPARED)).toBe(true);
    expect(successor.steps).toEqual([]);
    b.control.configure(new Map([[successor, NOT_SPECIAL]]));
    old.run(false);
    const removed = b.control.remove(old);
    await old.exit();
    await removed;
    await settle();
    expect(successor.steps).toEqual(['wake']);
    expect(b.control.models()).toHaveLength(1);
  });

  test('does not load what nobody uses', async () => {
    const b = await bench(1_000).start();
    const pool = new FakePool(() => b.now);
    b.control.add({ id: 'new', pool, estimate: {} });
    expect(await b.control.prepare(pool, PREPARED)).toBe(true);
    expect(pool.steps).toEqual([]);
  });

  test('loads a model that it makes the default one or pins', async () => {
    const b = bench(1_000);
    const a = b.add('a');
    const pinned = b.add('b');
    await b.start();
    b.control.configure(
      new Map([
        [a, { ...NOT_SPECIAL, isDefault: true }],
        [pinned, { ...NOT_SPECIAL, pin: true }],
      ]),
    );
    await settle();
    expect([a.steps, pinned.steps]).toEqual([['wake'], ['wake']]);
  });

  test('loads a new default model', async () => {
    const b = await bench(1_000).start();
    const pool = new FakePool(() => b.now);
    b.control.add({ id: 'new', pool, estimate: {} });
    expect(await b.control.prepare(pool, { ...PREPARED, isDefault: true })).toBe(true);
    expect(pool.steps).toEqual(['wake']);
  });
});

test('a stopped control decides nothing any more, and whoever waits for a load is told', async () => {
  const b = bench(1_000);
  const a = b.add('a');
  await b.start();
  const refused = expect(b.control.load('a')).rejects.toMatchObject({ code: 'draining' });
  b.control.stop();
  await refused;
  await a.ask();
  expect(a.steps).toEqual([]);
});

test('the figures say what there is and what is held', async () => {
  const b = bench(250);
  b.add('a');
  await (await b.start()).load('a');
  expect(b.control.figures).toEqual({ budget: 250 * MIB, held: 100 * MIB });
});

test('a measurement that fails does not end the decisions', async () => {
  let failing = true;
  const fixed = new FixedBudget(1_000 * MIB);
  const capacity = () => (failing ? Promise.reject(new Error('no device')) : fixed.capacity());
  const b = bench({ capacity, count: (need) => fixed.count(need) });
  const pool = b.add('a');
  await b.start();
  await pool.ask();
  expect(pool.steps).toEqual([]);
  expect(b.lines).toContainEqual(expect.objectContaining({ event: 'memory_unknown', level: 50 }));
  failing = false;
  await pool.ask();
  expect(pool.steps).toEqual(['wake']);
});
