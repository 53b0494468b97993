import type { ModelControl, ModelMemory, UnloadReason } from '../contract.js';
import { LMServError } from '../errors.js';
import type { Logger } from '../observe/logger.js';
import type { PoolObserver } from '../observe/pool-observer.js';
import type { Outlook, Pool } from '../pool/pool.js';
import { systemClock, type Clock } from '../time.js';
import { atLeast, fits, sum, total, without, type Amounts } from './amounts.js';
import { HOST, type Budget, type Capacity } from './budget.js';
import { patience, plan, type Claim, type ModelView, type Phase, type Plan } from './policy.js';

/** A pool that may be asleep, as far as it is used here. */
export type SleepingPool = Pick<
  Pool,
  | ('keep' | 'start' | 'wake' | 'sleep' | 'hold' | 'refuseWaiting')
  | ('demand' | 'takeMissed' | 'loaded' | 'started' | 'state' | 'inCrashLoop' | 'failure' | 'memory')
>;

export interface ModelSettings {
  /** For requests that name no model: it is loaded at the start and not unloaded for being idle. */
  readonly isDefault: boolean;
  /** It is loaded at the start and never leaves. */
  readonly pin: boolean;
  /** It is loaded at the start. */
  readonly preload: boolean;
}

export interface ManagedModel {
  readonly id: string;
  readonly pool: SleepingPool;
  /** What it will hold, before llama.cpp has said so. */
  readonly estimate: Amounts;
}

export interface MemoryOptions {
  readonly budget: Budget;
  /** Unused models are unloaded after this time, milliseconds; 0 keeps them. */
  readonly idleMs: number;
  /** When waiting requests time out, milliseconds. */
  readonly queueTimeoutMs: number;
  readonly logger: Logger;
  readonly observer?: PoolObserver | undefined;
  readonly clock?: Clock | undefined;
}

/** Interval between looks at how far models have grown, milliseconds. */
const LOOK_MS = 10_000;

/** How long a model is not loaded again after a failure, milliseconds; doubled for each further one. */
const PAUSE_MS = 1_000;
const MAX_PAUSE_MS = 60_000;

/** What a load takes where nothing is known yet, milliseconds. */
const UNKNOWN_LOAD_MS = 1_000;

/** A load that takes longer than expected is expected to take this much longer again. */
const OVERTIME = 0.05;

/**
 * Decides which models are in memory. Whatever happens in a pool is only a reason to make a new plan (`policy.ts`) from
 * the state of all of them, and to do what it says: wake pools, send idle ones to sleep, hold busy ones.
 */
export class ModelMemoryControl implements ModelControl {
  readonly #options: MemoryOptions;
  readonly #clock: Clock;
  readonly #entries = new Map<SleepingPool, Entry>();
  /** Pins that an operator set or took away; they outlive changes of the configuration. */
  readonly #pins = new Map<string, boolean>();
  #capacity: Capacity | undefined;
  /** Of the latest load: it predicts how long others take. */
  #msPerByte: number | undefined;
  #running: Promise<void> | undefined;
  #again = false;
  /** The next plan is made from fresh figures, although nobody needs memory. */
  #looks = false;
  #started = false;
  #stopped = false;
  #lookTimer: NodeJS.Timeout | undefined;
  #cancelCheck: () => void = () => undefined;
  #keys = 0;

  constructor(options: MemoryOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  /** Takes over a pool, asleep. Its memory counts until `remove`. */
  add({ id, pool, estimate }: ManagedModel): void {
    const key = `${id}#${(this.#keys += 1)}`;
    const entry = new Entry(key, id, pool, estimate);
    this.#entries.set(pool, entry);
    pool.keep({
      changed: () => this.#changed(),
      hasRoom: () => this.#hasRoom(entry),
      outlook: () => this.#outlook(entry),
    });
  }

  /** Names the pools that serve now; others only finish what they have. */
  configure(served: ReadonlyMap<SleepingPool, ModelSettings>): void {
    for (const entry of this.#entries.values()) {
      const wasPermanent = this.#isPermanent(entry);
      entry.settings = served.get(entry.pool);
      if (this.#started && !wasPermanent && entry.phase === 'unloaded') this.#wantPermanent(entry, 'idle');
    }
    this.#changed();
  }

  /** Forgets a pool that has been stopped, once no process of it is left. */
  async remove(pool: SleepingPool): Promise<void> {
    await pool.sleep();
    this.#entries.delete(pool);
    this.#changed();
  }

  /** Loads the default model, the pinned and the preloaded ones. */
  start(): void {
    this.#started = true;
    for (const entry of this.#entries.values()) entry.atStart = this.#wantPermanent(entry, 'free');
    this.#looks = true;
    this.#lookTimer = setInterval(() => this.#look(), LOOK_MS).unref();
    this.#changed();
  }

  /** Whether a pool is loaded without a request. */
  isLoadedAtStart(pool: SleepingPool): boolean {
    const entry = this.#entries.get(pool);
    return entry !== undefined && this.#isPermanent(entry);
  }

  /**
   * Loads what takes the place of a model that is in memory, and whatever is loaded at the start, beside the others.
   *
   * @returns false if its workers cannot be started; true if they can or if there is no room for them yet.
   */
  async prepare(pool: SleepingPool, settings: ModelSettings): Promise<boolean> {
    const entry = this.#entries.get(pool)!;
    const former = [...this.#entries.values()].find(({ id, settings: its }) => id === entry.id && its);
    const isPermanent = settings.isDefault || settings.preload || this.#isPinned(entry.id, settings);
    if (!isPermanent && (former === undefined || former.phase === 'unloaded')) return true;
    entry.want(this.#clock.now(), 'idle');
    await this.#evaluate();
    return entry.phase === 'unloaded' || pool.started;
  }

  /** Decides nothing any more. */
  stop(): void {
    this.#stopped = true;
    clearInterval(this.#lookTimer);
    this.#cancelCheck();
    for (const entry of this.#entries.values()) entry.settle(new LMServError('draining'));
  }

  models(): ModelMemory[] {
    return this.#served().map((entry) => this.#describe(entry));
  }

  /** Bytes, of all models together. */
  get figures(): { readonly budget: number; readonly held: number } {
    return {
      budget: this.#capacity ? total(this.#capacity.budget) : 0,
      held: total(sum(this.#inMemory().map((entry) => entry.needNow))),
    };
  }

  async load(id: string): Promise<void> {
    const entry = this.#find(id);
    if (entry.phase === 'loaded') return;
    const loaded = entry.untilLoaded();
    entry.want(this.#clock.now(), 'turn');
    entry.pausedUntil = 0;
    this.#changed();
    await loaded;
  }

  async unload(id: string): Promise<void> {
    const entry = this.#find(id);
    if (this.#isPinned(id, entry.settings)) {
      throw new LMServError('invalid_value', `${id} is pinned; unpin it first`);
    }
    entry.wantedSince = undefined;
    if (entry.phase === 'unloaded') return;
    const unloaded = entry.untilUnloaded();
    entry.discarded = true;
    this.#changed();
    await unloaded;
  }

  pin(id: string): void {
    const entry = this.#find(id);
    this.#pins.set(id, true);
    if (entry.phase === 'unloaded') entry.want(this.#clock.now(), 'turn');
    this.#changed();
  }

  unpin(id: string): void {
    this.#find(id);
    this.#pins.set(id, false);
    this.#changed();
  }

  /** @throws LMServError `model_not_found`, also for models of other servers. */
  #find(id: string): Entry {
    if (this.#stopped) throw new LMServError('draining');
    const entry = this.#served().find((candidate) => candidate.id === id);
    if (!entry) throw new LMServError('model_not_found', 'There is no such model on this machine');
    return entry;
  }

  #served(): Entry[] {
    return [...this.#entries.values()].filter(({ settings }) => settings !== undefined);
  }

  #inMemory(): Entry[] {
    return [...this.#entries.values()].filter(({ phase }) => phase !== 'unloaded');
  }

  #isPinned(id: string, settings: ModelSettings | undefined): boolean {
    return settings !== undefined && (this.#pins.get(id) ?? settings.pin);
  }

  #isPermanent({ id, settings }: Entry): boolean {
    return settings?.isDefault === true || settings?.preload === true || this.#isPinned(id, settings);
  }

  /** Wants what is loaded without a request; false if it is not. */
  #wantPermanent(entry: Entry, claim: Claim): boolean {
    if (!this.#isPermanent(entry)) return false;
    entry.want(this.#clock.now(), this.#isPinned(entry.id, entry.settings) ? 'turn' : claim);
    return true;
  }

  #describe(entry: Entry): ModelMemory {
    const { id, pool, settings, phase, known, needNow, loadMs, failure } = entry;
    const { running, waitingSince } = pool.demand();
    const lastUsed = this.#lastUsed(entry);
    return {
      id,
      state: pool.state,
      pinned: this.#isPinned(id, settings),
      busy: running || waitingSince !== undefined,
      bytes: total(needNow),
      estimated: known === undefined,
      ...(lastUsed > 0 && { lastUsed: Math.round(performance.timeOrigin + lastUsed) }),
      ...(loadMs !== undefined && { loadMs }),
      ...(failure !== undefined && phase !== 'loading' && { error: failure }),
    };
  }

  #outlook(entry: Entry): Outlook {
    const { phase, obstacle, failure, pausedUntil } = entry;
    const expected = this.#expectedLoadMs(entry);
    const passed = phase === 'loading' ? this.#clock.now() - entry.wokenAt : 0;
    return {
      untilLoadedMs: Math.max(expected - passed, passed * OVERTIME),
      obstacle: phase === 'unloaded' ? obstacle : undefined,
      failure,
      pauseMs: Math.max(0, pausedUntil - this.#clock.now()),
    };
  }

  #expectedLoadMs({ loadMs, needNow }: Entry): number {
    if (loadMs !== undefined) return loadMs;
    return this.#msPerByte === undefined ? UNKNOWN_LOAD_MS : this.#msPerByte * total(needNow);
  }

  #lastUsed({ pool, loadedAt }: Entry): number {
    return Math.max(pool.demand().lastUsed ?? 0, loadedAt);
  }

  #changed(): void {
    if (!this.#started || this.#stopped) return;
    void this.#evaluate();
  }

  /** Makes a plan and carries it out; resolves once that is done with the state of the moment of the call. */
  #evaluate(): Promise<void> {
    this.#again = true;
    this.#running ??= this.#evaluateAll();
    return this.#running;
  }

  async #evaluateAll(): Promise<void> {
    do {
      // A burst of events is one reason to plan, and a pool may be in the middle of a step.
      await new Promise(setImmediate);
      this.#again = false;
      if (!this.#stopped) await this.#evaluateOnce().catch((err: unknown) => this.#onError(err));
    } while (this.#again);
    this.#running = undefined;
  }

  async #evaluateOnce(): Promise<void> {
    for (const entry of this.#entries.values()) this.#notice(entry);
    // Without a claim to memory only the idle limit matters, and nothing is measured.
    const measured = this.#looks || [...this.#entries.values()].some(isClaimant);
    this.#looks = false;
    if (measured) await this.#measure();
    if (!this.#stopped) this.#carryOut(measured ? this.#capacity! : NO_LIMIT);
  }

  /** The next event is another reason to plan. */
  #onError(err: unknown): void {
    this.#options.logger.error({ event: 'memory_unknown', err }, 'no plan for the models in memory');
  }

  /** Looks whether the models have grown. */
  #look(): void {
    if (this.#inMemory().length < 2) return;
    this.#looks = true;
    this.#changed();
  }

  async #measure(): Promise<void> {
    const { budget } = this.#options;
    const inMemory = this.#inMemory();
    for (const entry of inMemory) entry.measure();
    this.#capacity = await budget.capacity({
      held: sum(inMemory.map(({ needNow }) => needNow)),
      anonymous: inMemory.reduce((bytes, { anonymous }) => bytes + anonymous, 0),
      settled: inMemory.every(({ phase }) => phase === 'loaded'),
    });
  }

  #carryOut(capacity: Capacity): void {
    const now = this.#clock.now();
    const entries = [...this.#entries.values()];
    const views = entries.map((entry) => this.#view(entry));
    const next = plan(views, { ...capacity, idleMs: this.#options.idleMs }, now);
    const byKey = new Map(entries.map((entry) => [entry.key, entry]));
    for (const entry of entries) this.#hold(entry, next.hold.has(entry.key));
    for (const entry of entries) entry.obstacle = undefined;
    for (const key of next.blocked) {
      const entry = byKey.get(key)!;
      entry.obstacle = this.#shortage(entry, capacity, (other) => other.phase !== 'unloaded');
    }
    for (const key of next.refuse) this.#refuse(byKey.get(key)!, capacity);
    for (const [key, reason] of next.unload) this.#unload(byKey.get(key)!, reason);
    for (const key of next.load) this.#load(byKey.get(key)!);
    this.#checkAgain(next, now);
  }

  #view(entry: Entry): ModelView {
    const { key, id, pool, settings, phase, held, discarded, claim } = entry;
    const { running, waitingSince } = pool.demand();
    const paused = entry.pausedUntil > this.#clock.now();
    return {
      ...{ id: key, phase, held, discarded, claim, running, waitingSince: paused ? undefined : waitingSince },
      need: this.#needOf(entry),
      pinned: this.#isPinned(id, settings),
      kept: settings?.isDefault === true,
      lastUsed: this.#lastUsed(entry),
      loadedAt: entry.loadedAt,
      patienceMs: patience(this.#expectedLoadMs(entry), this.#options.queueTimeoutMs),
      wantedSince: paused ? undefined : entry.wantedSince,
    };
  }

  #needOf({ phase, needNow, demanded }: Entry): Amounts {
    const need = this.#options.budget.count(needNow);
    return phase === 'unloaded' ? atLeast(need, demanded) : need;
  }

  /** Takes note of what happened in a pool. */
  #notice(entry: Entry): void {
    const { pool, phase, id, settings } = entry;
    if (phase === 'unloaded') {
      if (pool.takeMissed()) entry.want(this.#clock.now(), 'idle');
      return;
    }
    if (phase === 'loading' && pool.loaded) this.#onLoaded(entry);
    const { failure } = pool;
    if (phase === 'unloading' || !pool.inCrashLoop || failure === undefined) return;
    const reason = `No worker can be started: ${failure}`;
    entry.settle(new LMServError('unavailable', reason));
    // The supervisor keeps trying where a model is to be there.
    if (settings?.isDefault === true || this.#isPinned(id, settings) || pool.demand().running) return;
    entry.fail(reason, this.#clock.now());
    if (SHORTAGE.test(failure)) this.#demandMore(entry);
    this.#unload(entry, 'failed');
  }

  /** It seemed to fit and did not: its next load has to make more room, if there is anything to evict. */
  #demandMore(entry: Entry): void {
    const { budget = {} } = this.#capacity ?? {};
    const others = this.#inMemory().filter((other) => other !== entry);
    const need = this.#options.budget.count(entry.needNow);
    const free = others.reduce(
      (room, { needNow }) => without(room, this.#options.budget.count(needNow)),
      budget,
    );
    const limited = Object.keys(need).filter((kind) => kind in budget);
    if (limited.length === 0 || others.every(({ id, settings }) => this.#isPinned(id, settings))) return;
    const more = Object.fromEntries(limited.map((kind) => [kind, Math.min(budget[kind]!, free[kind]! + 1)]));
    entry.demanded = atLeast(entry.demanded, more);
  }

  #hasRoom(entry: Entry): boolean {
    if (!this.#capacity) return true;
    const { count } = this.#options.budget;
    const room = this.#inMemory().reduce(
      (left, { needNow }) => without(left, count(needNow)),
      this.#capacity.budget,
    );
    return fits(count(entry.needNow), room);
  }

  #onLoaded(entry: Entry): void {
    const now = this.#clock.now();
    entry.loaded(now);
    const { id, loadMs: ms } = entry;
    const bytes = total(entry.needNow);
    if (bytes > 0) this.#msPerByte = ms! / bytes;
    this.#options.logger.info({ event: 'model_loaded', model: id, ms, bytes }, 'model loaded');
    this.#options.observer?.modelLoaded({ model: id, ms: ms! });
  }

  #load(entry: Entry): void {
    const { id, pool, atStart } = entry;
    const bytes = total(entry.needNow);
    this.#options.logger.info({ event: 'model_load', model: id, bytes }, 'loading a model');
    entry.wake(this.#clock.now());
    if (atStart) pool.start();
    else pool.wake();
  }

  #unload(entry: Entry, reason: UnloadReason): void {
    const { id, pool } = entry;
    this.#options.logger.info({ event: 'model_unload', model: id, reason }, 'unloading a model');
    entry.phase = 'unloading';
    entry.settle(new LMServError('unavailable', 'The model was unloaded'));
    this.#hold(entry, false);
    void pool.sleep().then(() => {
      entry.unloaded();
      this.#options.logger.info({ event: 'model_unloaded', model: id, reason }, 'model unloaded');
      this.#options.observer?.modelUnloaded({ model: id, reason });
      this.#changed();
    });
  }

  #hold(entry: Entry, on: boolean): void {
    if (entry.held === on) return;
    entry.held = on;
    entry.pool.hold(on);
    this.#options.logger.debug(
      { event: 'model_hold', model: entry.id, on },
      on ? 'a model finishes its replies to make room' : 'a model serves on',
    );
  }

  #refuse(entry: Entry, capacity: Capacity): void {
    const reason = this.#shortage(
      entry,
      capacity,
      ({ id, phase, settings }) => phase !== 'unloaded' && this.#isPinned(id, settings),
    );
    this.#options.logger.warn({ event: 'model_refused', model: entry.id, reason }, 'a model does not fit');
    const error = new LMServError('insufficient_memory', reason, { retryAfter: null });
    entry.failure = reason;
    entry.wantedSince = undefined;
    entry.settle(error);
    entry.pool.refuseWaiting(() => error);
  }

  /** The numbers: what it needs, what there is, and who has it. */
  #shortage(entry: Entry, { budget }: Capacity, holds: (other: Entry) => boolean): string {
    const need = this.#options.budget.count(entry.needNow);
    const limited = Object.keys(need).filter((kind) => kind in budget);
    const parts = limited.map(
      (kind) =>
        `${mebibytes(need[kind]!)} of ${mebibytes(budget[kind]!)}${kind in NAMES ? '' : ` on ${kind}`}`,
    );
    const holders = [...this.#entries.values()].filter((other) => other !== entry && holds(other));
    const held = holders.map(
      (other) => `${other.id} ${mebibytes(total(other.needNow))} (${this.#why(other)})`,
    );
    const beside = held.length > 0 ? `; in memory: ${held.join(', ')}` : '';
    return `The model ${entry.id} needs ${parts.join(' and ')}${beside}`;
  }

  #why({ id, pool, phase, settings }: Entry): string {
    if (this.#isPinned(id, settings)) return 'pinned';
    if (phase !== 'loaded') return phase;
    return pool.demand().running ? 'busy' : 'idle';
  }

  #checkAgain({ checkAt = Infinity }: Plan, now: number): void {
    this.#cancelCheck();
    const pauses = [...this.#entries.values()].map(({ pausedUntil }) => pausedUntil).filter((at) => at > now);
    const at = Math.min(checkAt, ...pauses);
    this.#cancelCheck = at < Infinity ? this.#clock.after(at - now, () => this.#changed()) : () => undefined;
  }
}

/** How a worker ends for lack of memory: llama.cpp gets none, or the kernel kills it. */
const SHORTAGE = /out of memory|SIGKILL/;

const NO_LIMIT: Capacity = { budget: {}, margin: {} };

/** Whether it needs memory, or is held for another one that did. */
function isClaimant({ pool, phase, wantedSince, held }: Entry): boolean {
  return held || (phase === 'unloaded' && (wantedSince ?? pool.demand().waitingSince) !== undefined);
}

/** Kinds of memory that need no name in a message. */
const NAMES = { all: true, [HOST]: true };

const mebibytes = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MiB`;

/** One pool, and what is known of it. Times are of the clock, milliseconds. */
class Entry {
  /** Undefined when it no longer serves under its id. */
  settings: ModelSettings | undefined;
  phase: Phase = 'unloaded';
  /** What llama.cpp and the system said about the latest load. */
  known: Amounts | undefined;
  /** What its processes have beyond files, bytes. */
  anonymous = 0;
  wokenAt = 0;
  loadedAt = 0;
  loadMs: number | undefined;
  wantedSince: number | undefined;
  claim: Claim = 'free';
  /** It is loaded as part of the server's start. */
  atStart = false;
  discarded = false;
  held = false;
  obstacle: string | undefined;
  failure: string | undefined;
  pausedUntil = 0;
  /** What has to be free for its next load, as the budget counts, because less did not do. */
  demanded: Amounts = {};
  #failures = 0;
  /** `known` is of this load. */
  #reported = false;
  /** What its processes hold if that is more than was known. */
  #grown: Amounts = {};
  readonly #onLoaded = new Set<(error?: LMServError) => void>();
  readonly #onUnloaded = new Set<() => void>();

  constructor(
    readonly key: string,
    readonly id: string,
    readonly pool: SleepingPool,
    readonly estimate: Amounts,
  ) {}

  /** What it holds or will hold. */
  get needNow(): Amounts {
    return atLeast(this.known ?? this.estimate, this.#grown);
  }

  want(now: number, claim: Claim): void {
    this.wantedSince ??= now;
    if (this.claim !== 'turn' && claim !== 'free') this.claim = claim;
  }

  wake(now: number): void {
    this.phase = 'loading';
    this.wokenAt = now;
    this.failure = this.obstacle = undefined;
  }

  loaded(now: number): void {
    this.phase = 'loaded';
    this.loadedAt = now;
    this.loadMs = Math.round(now - this.wokenAt);
    this.#failures = 0;
    this.demanded = {};
    this.measure();
    this.settle();
  }

  /** Looks what its processes hold now; the first look at all of them tells what the next load will take. */
  measure(): void {
    const { reported, resident, anonymous } = this.pool.memory();
    this.anonymous = anonymous;
    this.#grown = resident;
    if (reported && !this.#reported) this.known = atLeast(reported, resident);
    this.#reported ||= reported !== undefined;
  }

  fail(reason: string, now: number): void {
    this.failure = reason;
    this.pausedUntil = now + Math.min(MAX_PAUSE_MS, PAUSE_MS * 2 ** this.#failures);
    this.#failures += 1;
  }

  unloaded(): void {
    this.phase = 'unloaded';
    this.discarded = this.#reported = false;
    this.#grown = {};
    this.anonymous = 0;
    for (const done of this.#onUnloaded) done();
    this.#onUnloaded.clear();
  }

  /** Whoever waits for the load is told how it ended. */
  settle(error?: LMServError): void {
    this.wantedSince = undefined;
    this.claim = 'free';
    this.atStart = false;
    for (const done of this.#onLoaded) done(error);
    this.#onLoaded.clear();
  }

  /** @throws LMServError */
  untilLoaded(): Promise<void> {
    return new Promise((resolve, reject) =>
      this.#onLoaded.add((error) => (error ? reject(error) : resolve())),
    );
  }

  untilUnloaded(): Promise<void> {
    return new Promise((resolve) => this.#onUnloaded.add(resolve));
  }
}
