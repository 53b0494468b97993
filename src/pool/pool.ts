import PQueue from 'p-queue';
import type { BackendStatus, JsonObject, RequestSlots, WaitOutcome, WorkerExitCause } from '../contract.js';
import { LMServError } from '../errors.js';
import type { Logger } from '../observe/logger.js';
import type { Worker } from '../../workers/worker.js';
import { Affinity, cacheBlocks } from './affinity.js';
import { FairQueue, hasBegun, type FairOptions } from './fair-queue.js';
import { conversationText, prefixKey, type PrefixKey } from './prefix.js';
import { Quarantine } from './quarantine.js';
import { ServiceTime } from './service-time.js';
import { Supervisor, type SupervisorOptions } from './supervisor.js';

export interface PoolOptions extends SupervisorOptions {
  /** How many requests may wait. */
  readonly queueLimit: number;
  /** How long one may wait, milliseconds. */
  readonly queueTimeoutMs: number;
}

export interface LeaseOptions {
  /** Whose request it is: callers take turns. */
  readonly caller?: string;
  /** Below 0: after everybody else. Above 0: ahead of the caller's own requests. 0 by default. */
  readonly priority?: number;
  /** false: refused at once where it would have to wait. */
  readonly mayWait?: boolean;
  /** Longest wait, milliseconds; the pool's own by default. */
  readonly timeoutMs?: number;
  /** The request lost its worker: it goes ahead of everybody, and waits also where the queue is full. */
  readonly resumed?: boolean;
  /** What the choices of the request have in common; they wait as one. */
  readonly slots?: RequestSlots | undefined;
  /** What is asked, for the choice of the worker and to know what kills one. */
  readonly body?: JsonObject;
  /** Told the place in the queue, 1 being next, before it waits. */
  readonly onWait?: (position: number) => void;
}

/** A slot of a worker, held by one request. `release` must be called and may be called twice. */
export interface Lease {
  readonly worker: Worker;
  /** Characters of the prompt's beginning that the worker was expected to hold when it was chosen. */
  readonly expectedPrefix: number;
  /** `served`: the worker finished the request, so it is no crash loop; `reply`: what it said, as its cache has it now. */
  release(served: boolean, reply?: () => string): void;
}

/** Hands out the slots of the workers that the supervisor keeps alive; requests wait in one bounded, fair queue. */
export class Pool {
  readonly #options: PoolOptions;
  readonly #logger: Logger;
  readonly #supervisor: Supervisor;
  readonly #fair = new FairQueue();
  /** A lease is a job that lasts until it is released; the concurrency is what is held and what is free. */
  readonly #queue: PQueue<FairQueue, FairOptions>;
  readonly #waiting = new Set<AbortController>();
  readonly #affinity: Affinity;
  /** Blocks that a worker holds; more of a prompt would only push its own beginning out. */
  readonly #cacheBlocks: number;
  readonly #quarantine = new Quarantine();
  readonly #serviceTime = new ServiceTime();
  /** What the requests are that a worker has in hand. */
  readonly #inHand = new WeakMap<Worker, Set<JsonObject>>();
  /** Resolves when the first worker takes requests. */
  readonly firstReady: Promise<void>;
  #announceReady!: () => void;
  /** Resolves when it is known whether the model can be started: with the first ready worker, or the first failure. */
  readonly started: Promise<boolean>;
  #announceStarted!: (ready: boolean) => void;
  /** Leases not released. */
  #held = 0;
  #stopping = false;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#logger = options.logger;
    const { slots, ctxSize, cacheRamMb } = options.worker;
    this.#cacheBlocks = cacheBlocks(slots, ctxSize, cacheRamMb > 0);
    this.#affinity = new Affinity(this.#cacheBlocks);
    this.#queue = new PQueue({ concurrency: 1, autoStart: false, queueClass: sharing(this.#fair) });
    this.firstReady = new Promise((resolve) => (this.#announceReady = resolve));
    this.started = new Promise((resolve) => (this.#announceStarted = resolve));
    this.#supervisor = new Supervisor(options, {
      onReady: () => this.#onReady(),
      onChange: () => this.#syncCapacity(),
      onExit: (worker, ending) => this.#onExit(worker, ending),
    });
  }

  /** Spawns all workers side by side; the first one ready already serves. */
  start(): void {
    this.#supervisor.start();
  }

  /**
   * Waits for a free slot of a ready worker; `FairQueue` says who is next. In a full queue a request may give way to
   * another one's at any time.
   *
   * @throws LMServError `starting`, `draining`, `queue_full`, `queue_timeout`, `unavailable` or `prompt_quarantined`;
   *   the signal's reason when it aborts first.
   */
  async lease(signal: AbortSignal, options: LeaseOptions = {}): Promise<Lease> {
    const began = performance.now();
    const tell = (outcome: WaitOutcome) => {
      const ms = performance.now() - began;
      this.#options.observer?.waited({ model: this.#options.name, ms, outcome });
    };
    try {
      const lease = await this.#lease(signal, options);
      tell('leased');
      return lease;
    } catch (error) {
      tell(outcomeOf(error));
      throw error;
    }
  }

  /** Whether content is refused for now because it crashed workers. */
  refuses(body: JsonObject): boolean {
    return this.#quarantine.holds(body, performance.now());
  }

  status(): BackendStatus {
    const workers = [...this.#supervisor.workers];
    const ready = workers.filter((worker) => worker.state === 'ready' && !worker.suspected);
    const idle = ready.filter((worker) => worker.leased === 0).length;
    const starting = workers.filter((worker) => worker.state === 'starting').length;
    const total = this.#options.workers;
    return {
      ready: ready.length > 0 && !this.#stopping,
      starting: !this.#supervisor.everReady && this.#supervisor.failure === undefined,
      workers: {
        ...{ total, idle, busy: ready.length - idle, starting },
        // While one is recycled there is one too many.
        dead: Math.max(0, total - ready.length - starting),
      },
      slots: {
        total: total * this.#options.worker.slots,
        idle: ready.reduce((sum, worker) => sum + worker.free, 0),
      },
      queue: { waiting: this.#queue.size, limit: this.#options.queueLimit },
    };
  }

  /** The workers that have not ended. */
  workers(): Worker[] {
    return [...this.#supervisor.workers];
  }

  /** Refuses those that wait and ends all workers, SIGTERM first. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#abortWaiting(() => new LMServError('draining'));
    await this.#supervisor.stop();
  }

  /** Ends all workers at once with SIGKILL; for when there is no time left. */
  kill(): void {
    this.#stopping = true;
    this.#supervisor.kill();
  }

  /** Process ids of the living workers. */
  pids(): number[] {
    return this.workers().flatMap((worker) => worker.pid ?? []);
  }

  #lease(signal: AbortSignal, options: LeaseOptions): Promise<Lease> {
    signal.throwIfAborted();
    const { caller = '', priority = 0, resumed, slots, body } = options;
    this.#admit(options);
    const key = this.#keyOf(body);
    const wait = new AbortController();
    this.#waiting.add(wait);
    const cancelTimeout = afterWait(options.timeoutMs ?? this.#options.queueTimeoutMs, slots, () =>
      wait.abort(this.#tooLate('queue_timeout', caller, priority)),
    );
    const onAbort = () => wait.abort(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    const stopWaiting = () => {
      cancelTimeout();
      signal.removeEventListener('abort', onAbort);
      this.#waiting.delete(wait);
    };
    return new Promise<Lease>((resolve, reject) => {
      const hold = () =>
        new Promise<void>((done) => {
          stopWaiting();
          resolve(this.#take(options, key, done));
        });
      const refuse = () => wait.abort(this.#tooLate('queue_full', caller, priority));
      const fair = { priority, caller, resumed, slots, refuse };
      this.#queue.add(hold, { signal: wait.signal, ...fair }).catch(reject);
    }).finally(stopWaiting);
  }

  /** Refuses what cannot be served, or would wait where it must not. */
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
    if (this.#capacity() === 0) {
      const { failure, everReady } = this.#supervisor;
      if (failure !== undefined) throw this.#unavailable(`No worker can be started: ${failure}`);
      if (!everReady) throw new LMServError('starting');
    }
    if (this.#free() > 0 && this.#queue.size === 0) return;
    if (!mayWait) throw this.#tooLate('queue_full', caller, priority);
    const hasPlace = resumed || (slots !== undefined && (hasBegun(slots) || this.#fair.has(slots)));
    if (!hasPlace) this.#makeRoom(caller, priority);
    onWait?.(this.#fair.positionOf(caller, priority));
  }

  /** @throws LMServError `queue_full` when the queue is full and no other request has to give way to this one. */
  #makeRoom(caller: string, priority: number): void {
    if (this.#fair.requests < this.#options.queueLimit) return;
    if (!this.#fair.makeRoom(caller, priority)) throw this.#tooLate('queue_full', caller, priority);
  }

  #unavailable(message?: string): LMServError {
    return new LMServError('unavailable', message, { retryAfter: this.#supervisor.retryAfter });
  }

  /** The hint is for a request that comes now: about where the one that is sent away stands. */
  #tooLate(code: 'queue_full' | 'queue_timeout', caller: string, priority: number): LMServError {
    const position = this.#fair.positionOf(caller, priority);
    const retryAfter = this.#serviceTime.waitFor(position, this.#capacity());
    return new LMServError(code, undefined, { retryAfter });
  }

  #take(options: LeaseOptions, key: PrefixKey, done: () => void): Lease {
    const { caller = '', slots, body } = options;
    const free = this.workers().filter((candidate) => candidate.free > 0);
    const worker = this.#affinity.choose(free, key);
    const giveBack = worker?.tryLease();
    // The concurrency is never above what is free, so there is one.
    if (!worker || !giveBack) throw new LMServError('unavailable');
    this.#held += 1;
    if (slots) slots.held += 1;
    this.#fair.started(caller);
    const expectedPrefix = this.#affinity.expected(worker.id, key);
    this.#affinity.note(worker.id, key);
    const forget = this.#noteInHand(worker, body);
    const began = performance.now();
    let held = true;
    const release = (served: boolean, reply = () => '') => {
      if (!held) return;
      held = false;
      forget();
      if (served && body) this.#remember(worker, body, reply);
      giveBack(served);
      if (served) this.#onServed(worker, performance.now() - began);
      this.#held -= 1;
      if (slots) giveBackSlot(slots);
      this.#fair.finished(caller);
      this.#syncCapacity();
      done();
    };
    return { worker, expectedPrefix, release };
  }

  #onServed(worker: Worker, ms: number): void {
    this.#serviceTime.note(ms);
    this.#supervisor.served(worker);
  }

  #noteInHand(worker: Worker, body: JsonObject | undefined): () => void {
    if (body === undefined) return () => undefined;
    const bodies = this.#inHand.get(worker) ?? new Set();
    this.#inHand.set(worker, bodies);
    bodies.add(body);
    return () => bodies.delete(body);
  }

  #remember(worker: Worker, body: JsonObject, reply: () => string): void {
    if (worker.state !== 'dead') this.#affinity.note(worker.id, this.#keyOf(body, reply));
  }

  /** With one worker there is nothing to choose, and nothing is read and hashed for it. */
  #keyOf(body: JsonObject | undefined, reply = () => ''): PrefixKey {
    if (body === undefined || this.#options.workers === 1) return [];
    return prefixKey(conversationText(body, reply()), this.#cacheBlocks);
  }

  #onReady(): void {
    this.#syncCapacity();
    this.#announceReady();
    this.#announceStarted(true);
  }

  #onExit(worker: Worker, ending: WorkerExitCause): void {
    this.#affinity.forget(worker.id);
    this.#announceStarted(false);
    if (ending === 'crashed') this.#blame(worker);
    if (!this.#stopping && this.#supervisor.inCrashLoop && this.#capacity() === 0)
      this.#abortWaiting(() => this.#unavailable());
  }

  /** A worker ended by itself: what it had in hand may be why. */
  #blame(worker: Worker): void {
    const found = this.#quarantine.crashed(this.#inHand.get(worker) ?? [], performance.now());
    if (found > 0)
      this.#logger.error(
        { event: 'prompt_quarantined', worker: worker.id },
        'a prompt that crashed two workers is refused for 10 minutes',
      );
  }

  /** Slots of workers that take requests, free or not. */
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

  /** What is held counts as long as it is held, also on a worker that takes no more. */
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
    for (const wait of [...this.#waiting]) wait.abort(reason());
  }
}

function outcomeOf(error: unknown): WaitOutcome {
  if (!(error instanceof LMServError)) return 'left';
  return error.code === 'queue_timeout' ? 'timeout' : 'refused';
}

/**
 * Calls `done` once `ms` milliseconds have passed in which no choice of the request held a slot; returns what calls it
 * off. A reply that is being written is not broken because another choice of it still waits.
 */
function afterWait(ms: number, slots: RequestSlots | undefined, done: () => void): () => void {
  const left = () => {
    if (!slots || slots.held > 0) return slots ? ms : 0;
    return slots.releasedAt === undefined ? 0 : slots.releasedAt + ms - performance.now();
  };
  let timer: NodeJS.Timeout;
  const look = () => {
    const more = left();
    if (more > 0) timer = setTimeout(look, more);
    else done();
  };
  timer = setTimeout(look, ms);
  return () => clearTimeout(timer);
}

function giveBackSlot(slots: RequestSlots): void {
  slots.held -= 1;
  slots.releasedAt = performance.now();
}

/** p-queue makes its queue itself; this one it is given. */
function sharing(queue: FairQueue): new () => FairQueue {
  return function () {
    return queue;
  } as unknown as new () => FairQueue;
}
