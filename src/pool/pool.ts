import PQueue from 'p-queue';
import type { BackendStatus } from '../contract.js';
import { LMServError } from '../errors.js';
import type { Logger } from '../observe/logger.js';
import type { WorkerOptions } from '../../workers/options.js';
import { withoutPaths } from '../../workers/stderr-tail.js';
import { Worker } from '../../workers/worker.js';
import { RestartPolicy } from './restart-policy.js';

export interface PoolOptions {
  /** The model's id; worker ids begin with it. */
  readonly name: string;
  readonly workers: number;
  readonly worker: WorkerOptions;
  /** GPU ids dealt out to the workers in turn; empty leaves the choice to llama.cpp. */
  readonly gpus: readonly string[];
  /** How many requests may wait. */
  readonly queueLimit: number;
  /** How long one may wait, milliseconds. */
  readonly queueTimeoutMs: number;
  /** The environment children inherit from, filtered. */
  readonly env: NodeJS.ProcessEnv;
  readonly logger: Logger;
}

export interface LeaseOptions {
  /** A higher one goes ahead; 0 by default. */
  readonly priority?: number;
  /** false: refused at once where it would have to wait. */
  readonly mayWait?: boolean;
  /** Longest wait, milliseconds; the pool's own by default. */
  readonly timeoutMs?: number;
  /** Waits also where the queue is full: for a reply that has begun. */
  readonly beyondLimit?: boolean;
}

/** A slot of a worker, held by one request. `release` must be called and may be called twice. */
export interface Lease {
  readonly worker: Worker;
  /** Milliseconds waited. */
  readonly queueMs: number;
  /** `served`: the worker finished the request, so it is no crash loop. */
  release(served: boolean): void;
}

/** Lines of a dead worker's stderr that go to the log. */
const LOG_LINES = 8;

/**
 * Keeps `workers` processes alive and hands out their slots. Requests wait in one bounded queue (p-queue, whose
 * concurrency is the number of slots of ready workers); a dead worker's successor starts at once.
 */
export class Pool {
  readonly #options: PoolOptions;
  readonly #queue = new PQueue({ concurrency: 1, autoStart: false });
  readonly #policy = new RestartPolicy();
  readonly #logger: Logger;
  /** By position: the worker that holds it now. */
  readonly #workers = new Map<number, Worker>();
  /** Workers that have finished a request since their start. */
  readonly #served = new WeakSet<Worker>();
  readonly #respawns = new Set<NodeJS.Timeout>();
  readonly #waiting = new Set<AbortController>();
  /** Resolves when the first worker takes requests. */
  readonly firstReady: Promise<void>;
  #announceReady!: () => void;
  /** Resolves when it is known whether the model can be started: with the first ready worker, or the first failure. */
  readonly started: Promise<boolean>;
  #announceStarted!: (ready: boolean) => void;
  #spawned = 0;
  #everReady = false;
  #stopping = false;
  #startFailure: string | undefined;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#logger = options.logger;
    this.firstReady = new Promise((resolve) => (this.#announceReady = resolve));
    this.started = new Promise((resolve) => (this.#announceStarted = resolve));
  }

  /** Spawns all workers side by side; the first one ready already serves. */
  start(): void {
    for (let position = 0; position < this.#options.workers; position += 1) this.#spawn(position);
  }

  /**
   * Waits for a free slot of a ready worker, first come first served within a priority.
   *
   * @throws LMServError `starting`, `draining`, `queue_full`, `queue_timeout` or `unavailable`; the signal's reason
   *   when it aborts first.
   */
  lease(signal: AbortSignal, options: LeaseOptions = {}): Promise<Lease> {
    const began = performance.now();
    const wait = new AbortController();
    this.#waiting.add(wait);
    const timer = setTimeout(
      () => wait.abort(new LMServError('queue_timeout')),
      options.timeoutMs ?? this.#options.queueTimeoutMs,
    );
    const onAbort = () => wait.abort(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    const stopWaiting = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      this.#waiting.delete(wait);
    };
    return new Promise<Lease>((resolve, reject) => {
      signal.throwIfAborted();
      this.#admit(options);
      const hold = () =>
        new Promise<void>((done) => {
          stopWaiting();
          resolve(this.#take(performance.now() - began, done));
        });
      this.#queue.add(hold, { signal: wait.signal, priority: options.priority ?? 0 }).catch(reject);
    }).finally(stopWaiting);
  }

  status(): BackendStatus {
    const workers = [...this.#workers.values()];
    const ready = workers.filter((worker) => worker.state === 'ready');
    const idle = ready.filter((worker) => worker.leased === 0).length;
    const starting = workers.filter((worker) => worker.state === 'starting').length;
    const total = this.#options.workers;
    return {
      ready: ready.length > 0 && !this.#stopping,
      starting: !this.#everReady && this.#startFailure === undefined,
      workers: { total, idle, busy: ready.length - idle, starting, dead: total - ready.length - starting },
      slots: {
        total: total * this.#options.worker.slots,
        idle: ready.reduce((sum, worker) => sum + worker.free, 0),
      },
      queue: { waiting: this.#queue.size, limit: this.#options.queueLimit },
    };
  }

  /** Refuses new work, lets held leases finish for `graceMs`, then ends all workers. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    for (const timer of this.#respawns) clearTimeout(timer);
    this.#abortWaiting(new LMServError('draining'));
    let timer: NodeJS.Timeout | undefined;
    const grace = new Promise((resolve) => (timer = setTimeout(resolve, graceMs)));
    await Promise.race([this.#queue.onPendingZero(), grace]);
    clearTimeout(timer);
    await Promise.all([...this.#workers.values()].map((worker) => worker.stop('shutdown')));
  }

  /** Ends all workers at once with SIGKILL; for when there is no time left. */
  kill(): void {
    this.#stopping = true;
    for (const worker of this.#workers.values()) worker.kill('shutdown');
  }

  /** Process ids of the living workers. */
  pids(): number[] {
    return [...this.#workers.values()].flatMap((worker) => worker.pid ?? []);
  }

  #admit({ mayWait = true, beyondLimit = false }: LeaseOptions): void {
    if (this.#stopping) throw new LMServError('draining');
    if (this.#slots() === 0) {
      if (this.#startFailure !== undefined && (!this.#everReady || this.#policy.open)) {
        throw new LMServError('unavailable', `No worker can be started: ${this.#startFailure}`);
      }
      if (!this.#everReady) throw new LMServError('starting');
    }
    const mustWait = this.#leastBusy() === undefined || this.#queue.size > 0;
    const limit = beyondLimit ? Infinity : this.#options.queueLimit;
    const room = mayWait ? limit : 0;
    if (mustWait && this.#queue.size >= room) throw new LMServError('queue_full');
  }

  #take(queueMs: number, done: () => void): Lease {
    const worker = this.#leastBusy();
    const giveBack = worker?.tryLease();
    if (!worker || !giveBack) {
      done();
      throw new LMServError('unavailable');
    }
    return {
      worker,
      queueMs,
      release: (served) => {
        if (served) {
          this.#served.add(worker);
          this.#policy.served();
        }
        giveBack();
        done();
      },
    };
  }

  #leastBusy(): Worker | undefined {
    let best: Worker | undefined;
    for (const worker of this.#workers.values()) {
      if (worker.free > 0 && (best === undefined || worker.leased < best.leased)) best = worker;
    }
    return best;
  }

  #spawn(position: number): void {
    const { name, gpus, worker: options, env } = this.#options;
    this.#spawned += 1;
    const id = `${name}#${position}.${this.#spawned}`;
    const gpu = gpus.length > 0 ? gpus[position % gpus.length] : options.gpu;
    const worker = new Worker(id, { ...options, gpu }, env, {
      onReady: (ready) => this.#onReady(ready),
      onExit: (dead, cause, reason) => {
        const uptimeMs = Date.now() - dead.startedAt;
        const record = { event: 'worker_exit', worker: id, pid: dead.pid, ...cause, reason, ms: uptimeMs };
        if (this.#stopping) this.#logger.info(record, 'worker ended');
        else
          this.#logger.warn(
            { ...record, stderr: dead.child.stderr.lastLines(LOG_LINES).map(withoutPaths) },
            'worker ended',
          );
        this.#onExit(position, dead, reason);
      },
    });
    this.#workers.set(position, worker);
    this.#logger.info({ event: 'worker_spawn', worker: id, pid: worker.pid }, 'worker started');
  }

  #onReady(worker: Worker): void {
    this.#everReady = true;
    this.#startFailure = undefined;
    const ms = Date.now() - worker.startedAt;
    this.#logger.info({ event: 'worker_ready', worker: worker.id, pid: worker.pid, ms }, 'worker ready');
    this.#syncCapacity();
    this.#announceReady();
    this.#announceStarted(true);
  }

  #onExit(position: number, worker: Worker, reason: string): void {
    this.#workers.delete(position);
    this.#syncCapacity();
    if (this.#stopping) return;
    const served = this.#served.has(worker);
    const lastError = worker.child.stderr.lastError();
    if (!served) this.#startFailure = lastError ? `${reason}: ${lastError}` : reason;
    this.#announceStarted(false);
    const delay = this.#policy.exited(Date.now(), served);
    if (this.#policy.open && this.#slots() === 0) this.#abortWaiting(new LMServError('unavailable'));
    const timer = setTimeout(() => {
      this.#respawns.delete(timer);
      this.#spawn(position);
    }, delay);
    this.#respawns.add(timer);
  }

  /** Slots of ready workers. */
  #slots(): number {
    let slots = 0;
    for (const worker of this.#workers.values()) {
      if (worker.state === 'ready') slots += worker.options.slots;
    }
    return slots;
  }

  #syncCapacity(): void {
    const slots = this.#slots();
    if (slots === 0) {
      this.#queue.pause();
      return;
    }
    this.#queue.concurrency = slots;
    this.#queue.start();
  }

  #abortWaiting(error: LMServError): void {
    for (const wait of [...this.#waiting]) wait.abort(error);
  }
}
