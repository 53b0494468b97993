import { Counter, Gauge, type Registry } from 'prom-client';
import type { BackendStatus, WorkerActivity, WorkerInfo } from '../../contract.js';
import { readMemory, type ProcessMemory } from '../process-memory.js';

/** A backend of a model as it is now. */
export interface ServedModel {
  readonly model: string;
  readonly status: BackendStatus;
  readonly workers: readonly WorkerInfo[];
  /** The version of the llama.cpp that it runs on, where it does. */
  readonly llamaCpp?: string | undefined;
}

/** Finds out what a process uses; undefined where that cannot be told. */
export type ReadMemory = (pid: number) => ProcessMemory | undefined | Promise<ProcessMemory | undefined>;

/** A worker's place in its pool: unlike its id it stays the same from one process to the next. */
type Place = { readonly model: string; readonly worker: number };

const ACTIVITIES: readonly WorkerActivity[] = ['starting', 'idle', 'busy', 'suspected', 'draining'];

/** What serves now, written anew for each scrape. */
export class ServedModelMetrics {
  readonly #registry: Registry;
  readonly #gauges: Gauge[] = [];
  readonly #ready;
  readonly #slots;
  readonly #slotsIdle;
  readonly #waiting;
  readonly #limit;
  readonly #workers;
  readonly #memory;
  readonly #requests;
  readonly #startTime;
  readonly #llamaCpp;

  constructor(
    registry: Registry,
    private readonly memoryOf: ReadMemory = readMemory,
  ) {
    this.#registry = registry;
    this.#ready = this.#gauge(
      'lmserv_model_ready',
      'Whether a model can serve requests, now or after a wait.',
    );
    this.#slots = this.#gauge('lmserv_slots', 'Slots of all workers a model is to have.');
    this.#slotsIdle = this.#gauge('lmserv_slots_idle', 'Slots that are free now.');
    this.#waiting = this.#gauge('lmserv_queue_waiting', 'Requests that wait for a slot.');
    this.#limit = this.#gauge('lmserv_queue_limit', 'Requests that may wait for a slot.');
    this.#workers = this.#gauge(
      'lmserv_workers',
      'Workers by state; dead are those that are to be there and have no process.',
      ['state'],
    );
    this.#memory = this.#gauge(
      'lmserv_worker_memory_bytes',
      'Memory of the worker at a place of the pool: anonymous is its own, mapped may be shared between workers.',
      ['worker', 'kind'],
    );
    this.#requests = new Counter({
      name: 'lmserv_worker_requests_total',
      help: 'Requests that the worker at a place of the pool has finished; its successor begins at 0.',
      labelNames: ['model', 'worker'],
      registers: [registry],
    });
    this.#startTime = this.#gauge(
      'lmserv_worker_start_time_seconds',
      'Unix time at which the present worker at a place of the pool was spawned.',
      ['worker'],
    );
    this.#llamaCpp = this.#gauge('lmserv_llama_cpp_info', 'The llama.cpp that a model runs on; always 1.', [
      'version',
    ]);
  }

  /** Takes the state of all models over; what is gone since the last time shows no more. */
  async update(models: readonly ServedModel[]): Promise<void> {
    const memory = await this.#readMemory(models);
    for (const metric of [...this.#gauges, this.#requests]) metric.reset();
    for (const served of models) {
      this.#setModel(served);
      if (served.status.workers.total > 0) this.#setPool(served);
      for (const worker of served.workers) this.#setWorker(worker, memory.get(worker));
    }
  }

  async #readMemory(models: readonly ServedModel[]): Promise<ReadonlyMap<WorkerInfo, ProcessMemory>> {
    const found = new Map<WorkerInfo, ProcessMemory>();
    const look = async (worker: WorkerInfo) => {
      const memory = worker.pid === undefined ? undefined : await this.memoryOf(worker.pid);
      if (memory) found.set(worker, memory);
    };
    await Promise.all(models.flatMap(({ workers }) => workers.map(look)));
    return found;
  }

  // A model may have several backends, a place two processes while one takes over from the other: what counts is added.

  #setModel({ model, status, llamaCpp }: ServedModel): void {
    if (status.ready) this.#ready.set({ model }, 1);
    else this.#ready.inc({ model }, 0);
    if (llamaCpp !== undefined) this.#llamaCpp.set({ model, version: llamaCpp }, 1);
  }

  #setPool({ model, status, workers }: ServedModel): void {
    this.#slots.inc({ model }, status.slots.total);
    this.#slotsIdle.inc({ model }, status.slots.idle);
    this.#waiting.inc({ model }, status.queue.waiting);
    this.#limit.inc({ model }, status.queue.limit);
    for (const state of ACTIVITIES) {
      this.#workers.inc({ model, state }, workers.filter((worker) => worker.state === state).length);
    }
    this.#workers.inc({ model, state: 'dead' }, status.workers.dead);
  }

  #setWorker(worker: WorkerInfo, memory: ProcessMemory | undefined): void {
    const place: Place = { model: worker.model, worker: worker.position };
    if (memory) {
      this.#memory.inc({ ...place, kind: 'anonymous' }, memory.anonymous);
      this.#memory.inc({ ...place, kind: 'mapped' }, memory.mapped);
    }
    // The one that is leaving is not the one that serves.
    if (worker.state === 'draining') return;
    this.#requests.inc(place, worker.requests);
    this.#startTime.set(place, worker.startedAt / 1000);
  }

  #gauge(name: string, help: string, further: readonly string[] = []): Gauge {
    const gauge = new Gauge({
      name,
      help,
      labelNames: ['model', ...further],
      registers: [this.#registry],
    });
    this.#gauges.push(gauge);
    return gauge;
  }
}
