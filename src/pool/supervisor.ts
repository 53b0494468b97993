import { realpathSync, statSync } from 'node:fs';
import type { WorkerExitCause } from '../contract.js';
import type { Logger } from '../observe/logger.js';
import { readMemory } from '../observe/process-memory.js';
import { withoutPaths } from '../../workers/stderr-tail.js';
import { isIntended, type WorkerExit } from '../../workers/exit.js';
import { Worker, type WorkerOptions } from '../../workers/worker.js';
import type { PoolObserver } from '../observe/pool-observer.js';
import { GpuReturn } from './gpu-return.js';
import { recyclingDue, type RecyclingLimits } from './recycling.js';
import { RestartPolicy } from './restart-policy.js';

export interface SupervisorOptions {
  /** The model's id; worker ids begin with it. */
  readonly name: string;
  readonly workers: number;
  readonly worker: WorkerOptions;
  /** GPU ids, assigned to the workers in turn; with none, llama.cpp chooses. */
  readonly gpus: readonly string[];
  /** The limits at which a healthy worker is replaced. */
  readonly recycling?: RecyclingLimits;
  /** Interval between checks of the workers, milliseconds. Default: 10 s. */
  readonly checkIntervalMs?: number;
  /** The environment that workers inherit from, filtered. */
  readonly env: NodeJS.ProcessEnv;
  readonly logger: Logger;
  readonly observer?: PoolObserver | undefined;
}

/** Events for the pool. */
export interface SupervisorEvents {
  /** A worker became ready. */
  onReady(): void;
  /** The number of free slots may have changed. */
  onChange(): void;
  onExit(worker: Worker, cause: WorkerExitCause): void;
  /** A worker was started. */
  onSpawn(worker: Worker): void;
  /** Is waited for before a worker that was ready is ended in good order. Never rejects. */
  onEnding?: ((worker: Worker) => Promise<void>) | undefined;
  /** Whether there is memory for one more worker beside the others. */
  hasRoom(): boolean;
}

/** Number of lines of a dead worker's stderr that are logged. */
const LOG_LINES = 8;

const CHECK_INTERVAL_MS = 10_000;

/**
 * Pause between two workers recycled for their memory, milliseconds: if a fresh worker exceeds the limit as well,
 * recycling does not help.
 */
const MEMORY_PAUSE_MS = 60_000;

/** Pause after a successor failed to start, milliseconds. */
const RECYCLE_PAUSE_MS = 10 * 60_000;

/**
 * Keeps `workers` processes alive: it replaces workers that exit, checks the others, and recycles those that reached a
 * limit, one at a time.
 */
export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #events: SupervisorEvents;
  readonly #policy = new RestartPolicy();
  readonly #gpuReturn = new GpuReturn();
  readonly #logger: Logger;
  readonly #workers = new Map<Worker, number>();
  /** Where the path of each worker's binary led when it was spawned. */
  readonly #builds = new WeakMap<Worker, string | undefined>();
  readonly #respawns = new Set<NodeJS.Timeout>();
  /** Workers whose process may still be there although they count as ended. */
  readonly #lingering = new Set<Worker>();
  /** Workers that end with the pool and are not replaced. */
  readonly #leaving = new WeakSet<Worker>();
  #awake = false;
  /** The worker that is being replaced, and its successor once that is spawned. */
  #recycling: { readonly old: Worker; successor?: Worker } | undefined;
  #recycleNotBefore = 0;
  #memoryNotBefore = 0;
  #checkTimer: NodeJS.Timeout | undefined;
  #model: FileStamp | undefined;
  #spawned = 0;
  /** When the worker that exited last is replaced, on the clock of `performance.now()`. */
  #respawnAt = 0;
  #everReady = false;
  /** A worker has been ready since the last `wake`. */
  #loaded = false;
  #startFailure: string | undefined;

  constructor(options: SupervisorOptions, events: SupervisorEvents) {
    this.#options = options;
    this.#events = events;
    this.#logger = options.logger;
  }

  /** All workers whose process has not exited. */
  get workers(): Iterable<Worker> {
    return this.#workers.keys();
  }

  /** Whether any worker has ever been ready. */
  get everReady(): boolean {
    return this.#everReady;
  }

  /** Why no worker can be started; undefined while one is ready or expected soon, or none is wanted. */
  get failure(): string | undefined {
    return this.#awake && (!this.#everReady || this.#policy.open) ? this.#startFailure : undefined;
  }

  /** Whether workers keep exiting before they have served a request. */
  get inCrashLoop(): boolean {
    return this.#policy.open;
  }

  /** Seconds until the next start of a worker, at least 1. */
  get retryAfter(): number {
    return Math.max(1, Math.ceil((this.#respawnAt - performance.now()) / 1000));
  }

  /** Whether it keeps workers alive. */
  get awake(): boolean {
    return this.#awake;
  }

  /** Whether a worker has been ready since it was woken. */
  get loaded(): boolean {
    return this.#awake && this.#loaded;
  }

  /** Process ids of the workers, including those that have been given up but may still be there. */
  get pids(): number[] {
    return [...this.#workers.keys(), ...this.#lingering].flatMap(({ pid }) => pid ?? []);
  }

  /** Spawns all workers at once and keeps them alive until `sleep` or `stop`. */
  wake(): void {
    if (this.#awake) return;
    this.#awake = true;
    this.#loaded = false;
    this.#startFailure = undefined;
    this.#model = fileStamp(this.#options.worker.modelPath);
    for (let position = 0; position < this.#options.workers; position += 1) this.#spawn(position);
    const interval = this.#options.checkIntervalMs ?? CHECK_INTERVAL_MS;
    this.#checkTimer = setInterval(() => this.#checkWorkers(), interval).unref();
  }

  /** Stops all workers and replaces none. Resolves when their processes have exited or are given up. */
  async stop(): Promise<void> {
    this.#halt();
    await Promise.all([...this.#workers.keys()].map((worker) => worker.stop()));
  }

  /** As `stop`, but resolves only when no process is left, because a process that is there holds its memory. */
  async sleep(): Promise<void> {
    await this.stop();
    await Promise.all([...this.#lingering].map(({ child }) => child.gone));
  }

  /** Stops replacing and checking workers. */
  #halt(): void {
    this.#awake = false;
    this.#recycling = undefined;
    clearInterval(this.#checkTimer);
    for (const timer of this.#respawns) clearTimeout(timer);
    this.#respawns.clear();
    for (const worker of this.#workers.keys()) this.#leaving.add(worker);
  }

  /** Kills all workers at once with SIGKILL. */
  kill(): void {
    this.#halt();
    for (const worker of this.#workers.keys()) worker.kill('shutdown');
  }

  /** Records that a worker finished a request. */
  served(worker: Worker): void {
    this.#policy.served();
    const { requests } = this.#options.recycling ?? {};
    if (requests !== undefined && worker.served >= requests) this.#considerRecycling(worker);
  }

  #spawn(position: number): Worker {
    const { name, gpus, worker: options, env } = this.#options;
    this.#spawned += 1;
    const id = `${name}#${position}.${this.#spawned}`;
    const gpu = gpus.length > 0 ? gpus[position % gpus.length] : options.gpu;
    this.#checkModel(id);
    const build = this.#build();
    const worker = new Worker(id, { ...options, gpu }, env, {
      onReady: (ready) => this.#onReady(ready),
      onChange: (changed) => this.#onChange(changed),
      onEnding: this.#events.onEnding,
      onExit: (dead, exit) => {
        this.#logExit(dead, exit);
        this.#onExit(dead, exit);
      },
    });
    this.#workers.set(worker, position);
    this.#builds.set(worker, build);
    this.#events.onSpawn(worker);
    this.#logger.info({ event: 'worker_spawn', worker: id, pid: worker.pid }, 'worker started');
    return worker;
  }

  /** Running workers keep the file they mapped; a new worker loads whatever is there now. */
  #checkModel(id: string): void {
    const now = fileStamp(this.#options.worker.modelPath);
    if (isSameFile(this.#model, now)) return;
    const line = { event: 'model_changed', worker: id, before: this.#model, now };
    const text = 'error' in now ? 'the model file cannot be read' : 'the model file has changed';
    this.#logger.warn(line, text);
    this.#model = now;
  }

  #onReady(worker: Worker): void {
    this.#everReady = this.#loaded = true;
    this.#startFailure = undefined;
    const ms = Math.round(performance.now() - worker.startedAt);
    const { id, pid, memory, offload } = worker;
    this.#logger.info(
      { event: 'worker_ready', worker: id, pid, ms, memory, layers: offload },
      'worker ready',
    );
    if (offload?.lacking)
      this.#logger.warn(
        { event: 'worker_lacks_gpu', worker: id, pid, layers: offload },
        'a worker computes on the CPU although layers on a GPU were requested; lmserv doctor shows the devices',
      );
    this.#options.observer?.workerReady({ model: this.#options.name, ms });
    this.#gpuReturn.ready(worker);
    if (worker === this.#recycling?.successor) this.#handOver(this.#recycling.old);
    this.#events.onReady();
  }

  #onChange(worker: Worker): void {
    if (worker.suspected)
      this.#logger.warn(
        { event: 'worker_suspected', worker: worker.id, pid: worker.pid },
        'worker suspected',
      );
    this.#events.onChange();
  }

  #logExit(worker: Worker, { status, cause, reason }: WorkerExit): void {
    const ms = Math.round(performance.now() - worker.startedAt);
    const record = {
      event: 'worker_exit',
      worker: worker.id,
      pid: worker.pid,
      ...status,
      cause,
      reason,
      ms,
    };
    if (isIntended(cause)) return this.#logger.info(record, 'worker ended');
    const stderr = worker.child.stderr.lastLines(LOG_LINES).map(withoutPaths);
    this.#logger.warn({ ...record, stderr }, 'worker ended');
  }

  #onExit(worker: Worker, { status, cause, reason }: WorkerExit): void {
    const position = this.#workers.get(worker)!;
    this.#workers.delete(worker);
    if (status.survived) this.#linger(worker);
    this.#options.observer?.workerExited({ model: this.#options.name, cause });
    if (!this.#leaving.delete(worker) && !this.#isSucceeded(worker, position))
      this.#replace(worker, position, reason);
    this.#events.onChange();
    this.#events.onExit(worker, cause);
  }

  #linger(worker: Worker): void {
    this.#lingering.add(worker);
    void worker.child.gone.then(() => this.#lingering.delete(worker));
  }

  #replace(worker: Worker, position: number, reason: string): void {
    const served = worker.served > 0;
    const lastError = worker.child.stderr.lastError();
    if (!served) this.#startFailure = lastError ? `${reason}: ${lastError}` : reason;
    const delay = this.#policy.exited(performance.now(), served);
    this.#respawnAt = performance.now() + delay;
    const timer = setTimeout(() => {
      this.#respawns.delete(timer);
      this.#spawn(position);
    }, delay);
    this.#respawns.add(timer);
  }

  #checkWorkers(): void {
    for (const worker of this.#workers.keys()) {
      void worker.check();
      this.#considerRecycling(worker);
      void this.#considerGpu(worker);
    }
  }

  async #considerGpu(worker: Worker): Promise<void> {
    if (this.#recycling || !this.#awake) return;
    if (await this.#gpuReturn.concerns(worker, this.#options.env)) this.#considerRecycling(worker, 'gpu');
  }

  /** @param reason to recycle it whatever its limits say */
  #considerRecycling(worker: Worker, reason?: 'gpu'): void {
    const { recycling = {} } = this.#options;
    if (this.#recycling || !this.#awake || worker.state !== 'ready') return;
    if (performance.now() < this.#recycleNotBefore) return;
    const ageMs = Math.round(performance.now() - worker.startedAt);
    const memoryBytes = recycling.memoryBytes === undefined ? undefined : readMemory(worker.pid!)?.anonymous;
    const use = { requests: worker.served, ageMs, memoryBytes };
    const limit = reason ?? (this.#hasNewerBuild(worker) ? 'build' : recyclingDue(use, recycling));
    if (limit === undefined) return;
    if (limit === 'memoryBytes' && performance.now() < this.#memoryNotBefore) return;
    this.#memoryNotBefore = performance.now() + MEMORY_PAUSE_MS;
    this.#logger.info({ event: 'worker_recycle', worker: worker.id, limit, ...use }, 'worker recycled');
    this.#recycling = { old: worker };
    // A single worker keeps serving until its successor is ready, if both fit; one of several retires first.
    if (this.#options.workers > 1 || !this.#events.hasRoom()) worker.retire();
    else this.#recycling.successor = this.#spawn(this.#workers.get(worker)!);
  }

  /** Setup leads a link of the path to another build once that is complete; one that is changed in place may not be. */
  #hasNewerBuild(worker: Worker): boolean {
    const now = this.#build();
    return now !== undefined && now !== this.#builds.get(worker);
  }

  /** The file that the binary's path leads to; undefined if there is none now. */
  #build(): string | undefined {
    try {
      return realpathSync(this.#options.worker.binary.path);
    } catch {
      return undefined;
    }
  }

  /** The successor of `old` is ready. */
  #handOver(old: Worker): void {
    if (this.#workers.has(old)) old.retire();
    else this.#recycling = undefined;
  }

  /** Whether an exited worker needs no replacement: it has a successor, or is a surplus one. */
  #isSucceeded(worker: Worker, position: number): boolean {
    const recycling = this.#recycling;
    if (worker === recycling?.old) {
      recycling.successor ??= this.#spawn(position);
      if (recycling.successor.state === 'ready') this.#recycling = undefined;
      return true;
    }
    if (worker !== recycling?.successor) return false;
    this.#recycling = undefined;
    // A successor that had been ready made the old worker retire, so its position is empty now.
    if (recycling.old.state !== 'ready') return false;
    this.#recycleNotBefore = performance.now() + RECYCLE_PAUSE_MS;
    return true;
  }
}

/** Identifies the state of a file without reading it. */
type FileStamp =
  | {
      /** Bytes. */
      readonly size: number;
      /** ISO 8601. */
      readonly modified: string;
    }
  /** The system's error code, e.g. `ENOENT`. */
  | { readonly error: string };

/** Never throws: a path may become unreadable at any time. */
function fileStamp(path: string): FileStamp {
  try {
    const { size, mtime } = statSync(path);
    return { size, modified: mtime.toISOString() };
  } catch (error) {
    return { error: (error as NodeJS.ErrnoException).code ?? 'unknown' };
  }
}

function isSameFile(a: FileStamp | undefined, b: FileStamp): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
