import PQueue from 'p-queue';
import type {
  BackendStatus,
  Caller,
  Departure,
  GenerateContext,
  JsonObject,
  ModelState,
  RequestSlots,
  WaitOutcome,
  WorkerExitCause,
} from '../contract.js';
import { LMServError } from '../errors.js';
import type { Logger } from '../observe/logger.js';
import type { Worker } from '../../workers/worker.js';
import { Affinity, cacheBlocks } from './affinity.js';
import { FairQueue, hasBegun, type FairOptions } from './fair-queue.js';
import { memoryOf, type PoolMemory } from './memory.js';
import { BLOCK, conversationText, placesOf, prefixKey, type PrefixKey } from './prefix.js';
import { Quarantine } from './quarantine.js';
import { ServiceTime } from './service-time.js';
import { Supervisor, type SupervisorOptions } from './supervisor.js';

export interface PoolOptions extends SupervisorOptions {
  /** Max number of waiting requests. */
  readonly queueLimit: number;
  /** Max wait for a slot, milliseconds. */
  readonly queueTimeoutMs: number;
  /** Max wait of a request that lost its worker, milliseconds. */
  readonly resumeTimeoutMs: number;
  /** Saves the workers' slots; undefined lets llama.cpp choose them. */
  readonly slotSaver?: SlotSaver | undefined;
}

export interface LeaseOptions {
  /** The caller that sent the request; callers take turns. */
  readonly caller?: string;
  /** Who that is, for what is saved of the request. */
  readonly client?: Caller;
  /** Below 0: after all other requests. Above 0: ahead of the caller's other requests. Default: 0. */
  readonly priority?: number;
  /** false: the request is refused at once if it would have to wait. Default: true. */
  readonly mayWait?: boolean;
  /** The request lost its worker: it goes ahead of all others and may wait even when the queue is full. */
  readonly resumed?: boolean;
  /** Shared by the choices of one request, which take a single place in the queue. */
  readonly slots?: RequestSlots | undefined;
  /** The request's body: it decides which worker is chosen, and may be quarantined. */
  readonly body?: JsonObject;
  /** Receives the position in the queue (1 is next) before the request waits. */
  readonly onWait?: (position: number) => void;
}

/** A slot of a worker, held by one request. `release` must be called; calling it again does nothing. */
export interface Lease {
  readonly worker: Worker;
  /** Characters of the prompt's beginning that the worker was expected to hold when it was chosen. */
  readonly expectedPrefix: number;
  /** The slot that the request must name; undefined leaves it to llama.cpp. */
  readonly slot?: Pick<SlotUse, 'id' | 'restore'> | undefined;
  /** Where the prompt departs from one that the worker was sent before; undefined if it does not, or without LOG_LEVEL=debug. */
  readonly departure: Departure | undefined;
  /**
   * @param served the worker finished the request, which ends a crash loop.
   * @param reply the text the worker generated, which its prefix cache now holds.
   * @param evaluated what it said of the prompt; undefined if it may not have evaluated it.
   */
  release(served: boolean, reply?: () => string, evaluated?: Omit<Evaluated, 'prefix'>): void;
}

/** What a worker has evaluated. */
export interface Evaluated {
  /** Prompt and reply. */
  readonly prefix: PrefixKey;
  /** The part of the prompt that it found in its cache; undefined if it did not say. */
  readonly cached?: number | undefined;
}

/** Saves what workers have evaluated before they end, and restores it into others. */
export interface SlotSaver {
  /** A worker has been started. */
  spawned(worker: Worker): void;
  /** Takes a slot of a worker for a request of a caller; undefined leaves it to llama.cpp. */
  use(worker: Worker, caller: Caller | undefined, prefix: PrefixKey): SlotUse | undefined;
  /** Saves the free slots of a worker that takes no more requests. Never rejects. */
  save(worker: Worker): Promise<void>;
}

/** A slot that a request has. */
export interface SlotUse {
  readonly id: number;
  /** Restores what was saved of the caller's conversation, if anything was. Never rejects. */
  restore(context: Pick<GenerateContext, 'signal' | 'requestId'>): Promise<void>;
  /** Gives the slot back. */
  release(evaluated: Evaluated | undefined): void;
}

/** Decides when the pool wakes and sleeps. Its methods return at once. */
export interface Keeper {
  /** Somebody waits while the pool is asleep or no longer does, the pool became ready or idle, or a worker exited. */
  changed(): void;
  /** Whether there is memory for one more worker of the pool. */
  hasRoom(): boolean;
  /** What those who wait for the pool to be loaded can expect. */
  outlook(): Outlook;
}

export interface Outlook {
  /** How long until it is loaded, as far as that is known, milliseconds. */
  readonly untilLoadedMs: number;
  /** What it waits for, in a sentence; absent if its load only takes time. */
  readonly obstacle?: string | undefined;
  /** Why it could not be loaded the last time, in a sentence. */
  readonly failure?: string | undefined;
  /** Milliseconds during which nobody should try again after that failure. */
  readonly pauseMs?: number | undefined;
}

/** What is asked of the pool at the moment. Times are of `performance.now()`. */
export interface PoolDemand {
  /** A reply has begun and is not finished, even if it has lost its worker. */
  readonly running: boolean;
  /** When the oldest request that has not begun came; undefined if none waits. */
  readonly waitingSince: number | undefined;
  /** When a slot was last taken or given back; undefined before that. */
  readonly lastUsed: number | undefined;
}

/** A request in the queue. */
interface Waiting {
  readonly since: number;
  readonly resumed: boolean;
  readonly slots: RequestSlots | undefined;
}

/**
 * Leases the slots of the workers that the supervisor keeps alive. Requests wait in one bounded, fair queue. A pool with
 * a keeper may be asleep: it has no workers then, and requests wait until it is awake.
 */
export class Pool {
  readonly #options: PoolOptions;
  readonly #logger: Logger;
  readonly #supervisor: Supervisor;
  readonly #fair = new FairQueue();
  /** A lease is a job that lasts until its release; the concurrency is the number of held and free slots. */
  readonly #queue: PQueue<FairQueue, FairOptions>;
  readonly #waiting = new Map<AbortController, Waiting>();
  readonly #affinity: Affinity;
  /** Blocks that a worker's caches hold; longer keys would only evict their own beginning. */
  readonly #cacheBlocks: number;
  readonly #quarantine = new Quarantine();
  readonly #serviceTime = new ServiceTime();
  /** The bodies of the requests each worker is serving. */
  readonly #runningBodies = new WeakMap<Worker, Set<JsonObject>>();
  /** Resolves when the first worker is ready. */
  readonly firstReady: Promise<void>;
  #announceReady!: () => void;
  /** Resolves with true when the first worker is ready, or with false when one exits before that. */
  readonly started: Promise<boolean>;
  #announceStarted!: (ready: boolean) => void;
  /** Leases that are not released. */
  #held = 0;
  /** Replies that have had a slot and are not finished. */
  #uses = 0;
  #lastUsed: number | undefined;
  #keeper: Keeper | undefined;
  /** Requests are refused instead of waiting until the first worker is ready. */
  #refusesEarly = true;
  #missed = false;
  #stopping = false;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#logger = options.logger;
    const { slots, ctxSize, cacheRamMb } = options.worker;
    this.#cacheBlocks = cacheBlocks(slots, ctxSize, cacheRamMb > 0);
    this.#affinity = new Affinity(this.#cacheBlocks);
    this.#queue = new PQueue({ concurrency: 1, autoStart: false, queueClass: useQueue(this.#fair) });
    this.firstReady = new Promise((resolve) => (this.#announceReady = resolve));
    this.started = new Promise((resolve) => (this.#announceStarted = resolve));
    this.#supervisor = new Supervisor(options, {
      onReady: () => this.#onReady(),
      onChange: () => this.#syncCapacity(),
      onExit: (worker, cause) => this.#onExit(worker, cause),
      onSpawn: (worker) => options.slotSaver?.spawned(worker),
      onEnding: options.slotSaver && ((worker) => options.slotSaver!.save(worker)),
      hasRoom: () => this.#keeper?.hasRoom() ?? true,
    });
  }

  /** Spawns all workers at once; until the first one is ready, requests are refused with `starting`. */
  start(): void {
    this.#supervisor.wake();
  }

  /** From now on requests wait while the pool is asleep, and `keeper` decides when to wake it. */
  keep(keeper: Keeper): void {
    this.#keeper = keeper;
  }

  /** Spawns all workers at once; requests wait for them. */
  wake(): void {
    this.#refusesEarly = false;
    this.#supervisor.wake();
  }

  /**
   * Ends all workers and replaces none; requests that come now wait. Resolves when no process is left. Only an idle pool
   * may be sent to sleep.
   */
  async sleep(): Promise<void> {
    this.#refusesEarly = false;
    const asleep = this.#supervisor.sleep();
    this.#syncCapacity();
    await asleep;
  }

  /** While it is held, only requests that have begun get slots, so that it becomes idle soon; the others wait. */
  hold(on: boolean): void {
    if (this.#fair.onlyBegun === on) return;
    this.#fair.onlyBegun = on;
    this.#syncCapacity();
  }

  /** Refuses the requests that wait now, because the pool cannot be woken. */
  refuseWaiting(reason: () => LMServError): void {
    this.#announceStarted(false);
    this.#abortWaiting(reason);
  }

  /** Keeps the pool awake until the returned function is called: a reply may need another worker. */
  use(): () => void {
    this.#uses += 1;
    return () => {
      this.#uses -= 1;
      this.#noteIdle();
    };
  }

  demand(): PoolDemand {
    const unbegun = [...this.#waiting.values()].find((wait) => !this.#awaits(wait));
    return {
      running: this.#held > 0 || this.#uses > 0 || this.#fair.begun > 0,
      waitingSince: unbegun?.since,
      lastUsed: this.#lastUsed,
    };
  }

  /** Whether, since the last call, a request that must not wait was refused because the pool was asleep. */
  takeMissed(): boolean {
    const missed = this.#missed;
    this.#missed = false;
    return missed;
  }

  /** What its processes hold. */
  memory(): PoolMemory {
    return memoryOf(this.workers(), this.#options.workers, this.pids());
  }

  /** Whether it is in memory, and if not, whether it will be. */
  get state(): ModelState {
    if (this.#readyWorkers().length > 0) return 'loaded';
    if (this.failure !== undefined) return 'failed';
    return this.#supervisor.awake ? 'loading' : 'unloaded';
  }

  /** A worker has been ready since the pool was woken. */
  get loaded(): boolean {
    return this.#supervisor.loaded;
  }

  /** Why it cannot serve at the moment, and will not soon. */
  get failure(): string | undefined {
    const { awake, failure } = this.#supervisor;
    return awake ? failure : this.#keeper?.outlook().failure;
  }

  /** How long until it is loaded, milliseconds; 0 if it is, undefined if that is not known. */
  get untilLoadedMs(): number | undefined {
    return this.loaded ? 0 : this.#keeper?.outlook().untilLoadedMs;
  }

  /** Whether its workers keep exiting before they have served. */
  get inCrashLoop(): boolean {
    return this.#supervisor.inCrashLoop;
  }

  /**
   * Waits for a free slot of a ready worker, in the order of `FairQueue`. A request waiting in a full queue may be
   * evicted by a later one.
   *
   * @throws LMServError `starting`, `draining`, `queue_full`, `queue_timeout`, `unavailable` or `prompt_quarantined`;
   *   the signal's reason when it aborts first.
   */
  async lease(signal: AbortSignal, options: LeaseOptions = {}): Promise<Lease> {
    const began = performance.now();
    const report = (outcome: WaitOutcome) => {
      const ms = performance.now() - began;
      this.#options.observer?.waited({ model: this.#options.name, ms, outcome });
    };
    try {
      const lease = await this.#lease(signal, options);
      report('leased');
      return lease;
    } catch (error) {
      report(classifyWait(error));
      throw error;
    }
  }

  /** Whether a body is quarantined because it crashed workers. */
  refuses(body: JsonObject): boolean {
    return this.#quarantine.holds(body, performance.now());
  }

  status(): BackendStatus {
    const ready = this.#readyWorkers();
    const idle = ready.filter((worker) => worker.leased === 0).length;
    const starting = this.workers().filter((worker) => worker.state === 'starting').length;
    const { awake, everReady } = this.#supervisor;
    const asleep = this.#keeper !== undefined && !awake;
    const total = asleep ? 0 : this.#options.workers;
    return {
      ready: !this.#stopping && (ready.length > 0 || this.#canBeLoaded()),
      starting: this.#refusesEarly && !asleep && !everReady && this.#supervisor.failure === undefined,
      state: this.state,
      workers: {
        total,
        idle,
        busy: ready.length - idle,
        starting,
        // There may be one worker too many while another is being recycled.
        dead: Math.max(0, total - ready.length - starting),
      },
      slots: {
        total: total * this.#options.worker.slots,
        idle: ready.reduce((sum, worker) => sum + worker.free, 0),
      },
      queue: { waiting: this.#fair.waiting, limit: this.#options.queueLimit },
    };
  }

  /** The workers whose process has not exited. */
  workers(): Worker[] {
    return [...this.#supervisor.workers];
  }

  /** Refuses those that wait and ends all workers, SIGTERM first. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#abortWaiting(() => new LMServError('draining'));
    await this.#supervisor.stop();
  }

  /** Kills all workers at once with SIGKILL, for when there is no time left. */
  kill(): void {
    this.#stopping = true;
    this.#supervisor.kill();
  }

  /** Process ids of the workers, including those that have been given up but may still be there. */
  pids(): number[] {
    return this.#supervisor.pids;
  }

  #lease(signal: AbortSignal, options: LeaseOptions): Promise<Lease> {
    signal.throwIfAborted();
    const { caller = '', priority = 0, resumed, slots, body } = options;
    this.#admit(options);
    const key = this.#buildKey(body);
    const wait = new AbortController();
    this.#waiting.set(wait, { since: performance.now(), resumed: resumed === true, slots });
    const { queueTimeoutMs, resumeTimeoutMs } = this.#options;
    const cancelTimeout = startQueueTimeout(resumed ? resumeTimeoutMs : queueTimeoutMs, slots, () =>
      wait.abort(this.#queueError('queue_timeout', caller, priority)),
    );
    const onAbort = () => wait.abort(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    const stopWaiting = () => {
      cancelTimeout();
      signal.removeEventListener('abort', onAbort);
      if (this.#waiting.delete(wait) && !this.loaded) this.#keeper?.changed();
    };
    if (!this.loaded) this.#keeper?.changed();
    return new Promise<Lease>((resolve, reject) => {
      const hold = () =>
        new Promise<void>((done) => {
          stopWaiting();
          resolve(this.#take(options, key, done));
        });
      const refuse = () => wait.abort(this.#queueError('queue_full', caller, priority));
      const fair = { priority, caller, resumed, slots, refuse };
      this.#queue.add(hold, { signal: wait.signal, ...fair }).catch(reject);
    }).finally(stopWaiting);
  }

  /** Refuses a request that cannot be served, or that would have to wait and must not. */
  #admit({
    mayWait = true,
    resumed = false,
    slots,
    caller = '',
    priority = 0,
    body,
    onWait,
  }: LeaseOptions): void {
    if (this.#stopping) throw new LMServError('draining');
    if (body !== undefined && this.refuses(body)) throw new LMServError('prompt_quarantined');
    if (this.#isAsleep()) this.#checkPause();
    else if (this.#capacity() === 0) {
      const { failure, everReady } = this.#supervisor;
      if (failure !== undefined) throw this.#unavailable(`No worker can be started: ${failure}`);
      if (!everReady && this.#refusesEarly) throw new LMServError('starting');
    }
    if (this.#free() > 0 && this.#fair.waiting === 0 && !this.#fair.onlyBegun) return;
    if (!mayWait) {
      this.#noteMissed();
      throw this.#queueError('queue_full', caller, priority);
    }
    const hasPlace = resumed || (slots !== undefined && (hasBegun(slots) || this.#fair.has(slots)));
    if (!hasPlace) this.#makeRoom(caller, priority);
    onWait?.(this.#fair.positionOf(caller, priority));
  }

  /** @throws LMServError `queue_full` when the queue is full and this request may not evict another. */
  #makeRoom(caller: string, priority: number): void {
    if (this.#fair.requests < this.#options.queueLimit) return;
    if (!this.#fair.makeRoom(caller, priority)) throw this.#queueError('queue_full', caller, priority);
  }

  #unavailable(message?: string): LMServError {
    return new LMServError('unavailable', message, { retryAfter: this.#supervisor.retryAfter });
  }

  /** Retry-After estimates the wait of a request that would join the queue now, with what is left of a load. */
  #queueError(code: 'queue_full' | 'queue_timeout', caller: string, priority: number): LMServError {
    const position = this.#fair.positionOf(caller, priority);
    const { workers, worker } = this.#options;
    const { untilLoadedMs: loadMs = 0, obstacle } = this.loaded ? {} : (this.#keeper?.outlook() ?? {});
    const slots = this.#capacity() || (loadMs > 0 ? workers * worker.slots : 0);
    const retryAfter = this.#serviceTime.waitFor(position, slots, loadMs);
    if (code === 'queue_full' || this.loaded) return new LMServError(code, undefined, { retryAfter });
    if (obstacle !== undefined) return new LMServError('insufficient_memory', obstacle, { retryAfter });
    return new LMServError(code, 'Timed out waiting for the model to load', { retryAfter });
  }

  /** A request that must not wait could have been served by a pool that is awake. */
  #noteMissed(): void {
    if (this.#supervisor.awake) return;
    this.#missed = true;
    this.#keeper?.changed();
  }

  /** @throws LMServError while nobody should try to load it again after a failure. */
  #checkPause(): void {
    const { failure, pauseMs = 0 } = this.#keeper!.outlook();
    if (failure === undefined || pauseMs <= 0) return;
    throw new LMServError('unavailable', failure, { retryAfter: Math.ceil(pauseMs / 1000) });
  }

  #noteIdle(): void {
    if (this.#held === 0 && this.#uses === 0) this.#keeper?.changed();
  }

  /** Whether a waiting request has begun: it then needs the workers that the pool has. */
  #awaits({ resumed, slots }: Waiting): boolean {
    return this.#supervisor.awake && (resumed || hasBegun(slots));
  }

  #isAsleep(): boolean {
    return this.#keeper !== undefined && !this.#supervisor.awake;
  }

  /** Whether a request would be served after a load. */
  #canBeLoaded(): boolean {
    if (!this.#keeper || this.failure !== undefined) return false;
    const { awake, loaded } = this.#supervisor;
    return !awake || (!loaded && !this.#refusesEarly);
  }

  #readyWorkers(): Worker[] {
    return this.workers().filter((worker) => worker.state === 'ready' && !worker.suspected);
  }

  #take(options: LeaseOptions, key: PrefixKey, done: () => void): Lease {
    const { caller = '', client, slots, body } = options;
    const free = this.workers().filter((candidate) => candidate.free > 0);
    const worker = this.#affinity.choose(free, key);
    const giveBack = worker?.tryLease();
    // Cannot happen: the concurrency never exceeds the held and free slots.
    if (!worker || !giveBack) throw new LMServError('unavailable');
    this.#held += 1;
    if (slots) slots.held += 1;
    this.#fair.started(caller);
    const expectedPrefix = this.#affinity.expected(worker.id, key);
    const departure = this.#isDebugging ? this.#departureOf(worker, key, body) : undefined;
    this.#affinity.note(worker.id, key);
    const slot = this.#options.slotSaver?.use(worker, client, key);
    const forgetBody = this.#trackBody(worker, body);
    const began = (this.#lastUsed = performance.now());
    let held = true;
    const release: Lease['release'] = (served, reply = () => '', evaluated = undefined) => {
      if (!held) return;
      held = false;
      forgetBody();
      const prefix = served && body ? this.#buildKey(body, reply) : [];
      if (served && body && worker.state !== 'dead') this.#affinity.note(worker.id, prefix);
      slot?.release(evaluated && { prefix, cached: evaluated.cached });
      giveBack(served);
      if (served) this.#onServed(worker, performance.now() - began);
      this.#held -= 1;
      this.#lastUsed = performance.now();
      if (slots) releaseSlot(slots);
      this.#fair.finished(caller);
      this.#syncCapacity();
      done();
      this.#noteIdle();
    };
    return { worker, expectedPrefix, departure, slot, release };
  }

  #onServed(worker: Worker, ms: number): void {
    this.#serviceTime.note(ms);
    this.#supervisor.served(worker);
  }

  #trackBody(worker: Worker, body: JsonObject | undefined): () => void {
    if (body === undefined) return () => undefined;
    const bodies = this.#runningBodies.get(worker) ?? new Set();
    this.#runningBodies.set(worker, bodies);
    bodies.add(body);
    return () => bodies.delete(body);
  }

  /** With a single worker there is nothing to choose, so hashing is skipped unless slots are chosen or somebody looks. */
  #buildKey(body: JsonObject | undefined, reply = () => ''): PrefixKey {
    const { workers, slotSaver } = this.#options;
    if (body === undefined || (workers === 1 && !slotSaver && !this.#isDebugging)) return [];
    return prefixKey(conversationText(body, reply()), this.#cacheBlocks);
  }

  get #isDebugging(): boolean {
    return this.#logger.isLevelEnabled('debug');
  }

  #departureOf({ id }: Worker, key: PrefixKey, body: JsonObject = {}): Departure | undefined {
    const at = this.#affinity.departure(id, key);
    return at === undefined ? undefined : { at, in: placesOf(body, at, at + BLOCK) };
  }

  #onReady(): void {
    this.#syncCapacity();
    this.#announceReady();
    this.#announceStarted(true);
    this.#keeper?.changed();
  }

  #onExit(worker: Worker, cause: WorkerExitCause): void {
    this.#affinity.forget(worker.id);
    this.#announceStarted(false);
    if (cause === 'crashed') this.#recordCrash(worker);
    if (!this.#stopping && this.#supervisor.inCrashLoop && this.#capacity() === 0)
      this.#abortWaiting(() => this.#unavailable(`No worker can be started: ${this.#supervisor.failure}`));
    this.#keeper?.changed();
  }

  /** One of the requests that the worker was serving may have crashed it. */
  #recordCrash(worker: Worker): void {
    const bodies = this.#runningBodies.get(worker) ?? [];
    if (this.#quarantine.recordCrash(bodies, performance.now()) === 0) return;
    this.#logger.error(
      { event: 'prompt_quarantined', worker: worker.id },
      'a prompt that crashed two workers is refused for 10 minutes',
    );
  }

  /** Slots of the ready workers, free or not. */
  #capacity(): number {
    let slots = 0;
    for (const worker of this.#supervisor.workers)
      if (worker.state === 'ready' && !worker.suspected) slots += worker.options.slots;
    return slots;
  }

  #free(): number {
    let free = 0;
    for (const worker of this.#supervisor.workers) free += worker.free;
    return free;
  }

  /** A held slot counts until its release, even on a worker that takes no new requests. */
  #syncCapacity(): void {
    const concurrency = this.#held + this.#free();
    if (concurrency === 0) {
      this.#queue.pause();
      return;
    }
    this.#queue.concurrency = concurrency;
    this.#queue.start();
  }

  #abortWaiting(reason: () => LMServError): void {
    for (const wait of [...this.#waiting.keys()]) wait.abort(reason());
  }
}

function classifyWait(error: unknown): WaitOutcome {
  if (!(error instanceof LMServError)) return 'left';
  return error.code === 'queue_timeout' ? 'timeout' : 'refused';
}

/**
 * Calls `onTimeout` once `ms` milliseconds have passed in which no choice of the request held a slot; returns a function
 * that cancels it. A choice that still waits must not break a reply that another choice is writing.
 */
function startQueueTimeout(ms: number, slots: RequestSlots | undefined, onTimeout: () => void): () => void {
  const remainingMs = () => {
    if (!slots || slots.held > 0) return slots ? ms : 0;
    return slots.releasedAt === undefined ? 0 : slots.releasedAt + ms - performance.now();
  };
  let timer: NodeJS.Timeout;
  const check = () => {
    const remaining = remainingMs();
    if (remaining > 0) timer = setTimeout(check, remaining);
    else onTimeout();
  };
  timer = setTimeout(check, ms);
  return () => clearTimeout(timer);
}

function releaseSlot(slots: RequestSlots): void {
  slots.held -= 1;
  slots.releasedAt = performance.now();
}

/** p-queue constructs its queue itself; this makes it use the pool's. */
function useQueue(queue: FairQueue): new () => FairQueue {
  return function () {
    return queue;
  } as unknown as new () => FairQueue;
}
