import { Counter, Gauge, type Registry } from 'prom-client';
import type { BackendStatus, ModelState, WorkerActivity, WorkerInfo } from '../../contract.js';
import { readMemory, type ProcessMemory } from '../process-memory.js';

/** The current state of a model's backend. */
export interface ServedModel {
  readonly model: string;
  readonly status: BackendStatus;
  readonly workers: readonly WorkerInfo[];
  /** The version of llama.cpp that it runs on, if any. */
  readonly llamaCpp?: string | undefined;
  /** What a local model holds in memory, or would, bytes. */
  readonly memoryBytes?: number | undefined;
}

/** Reads the memory of a process; undefined if it cannot be read. */
export type ReadMemory = (pid: number) => ProcessMemory | undefined | Promise<ProcessMemory | undefined>;

/** The position of a worker in its pool, which its replacement inherits, unlike its id. */
type Position = { readonly model: string; readonly worker: number };

const STATES: readonly ModelState[] = ['loaded', 'loading', 'unloaded', 'failed'];
const PARTS = ['model', 'context', 'compute'] as const;

const ACTIVITIES: readonly WorkerActivity[] = ['starting', 'idle', 'busy', 'suspected', 'draining'];

/** Whether a backend is a pool of workers, which has none while it is asleep. */
export function isPool({ workers, state }: BackendStatus): boolean {
  return workers.total > 0 || state !== undefined;
}

/** Metrics of the current models; rewritten for each scrape. */
export class ServedModelMetrics {
  readonly #registry: Registry;
  readonly #read: ReadMemory;
  readonly #gauges: Gauge[] = [];
  readonly #ready;
  readonly #state;
  readonly #modelMemory;
  readonly #slots;
  readonly #slotsIdle;
  readonly #waiting;
  readonly #limit;
  readonly #workers;
  readonly #memory;
  readonly #loaded;
  readonly #layers;
  readonly #lackingGpu;
  readonly #requests;
  readonly #startTime;
  readonly #llamaCpp;

  constructor(registry: Registry, read: ReadMemory = readMemory) {
    this.#registry = registry;
    this.#read = read;
    this.#ready = this.#gauge(
      'lmserv_model_ready',
      'Whether a model can serve requests, now or after a wait.',
    );
    this.#state = this.#gauge(
      'lmserv_model_state',
      'Whether a local model is in this state: loaded, loading, unloaded or failed.',
      ['state'],
    );
    this.#modelMemory = this.#gauge(
      'lmserv_model_memory_bytes',
      'Memory that a local model holds while it is loaded, as far as that is known.',
    );
    this.#slots = this.#gauge('lmserv_slots', 'Slots of all workers of a model; none while it is unloaded.');
    this.#slotsIdle = this.#gauge('lmserv_slots_idle', 'Free slots.');
    this.#waiting = this.#gauge('lmserv_queue_waiting', 'Requests waiting for a slot.');
    this.#limit = this.#gauge('lmserv_queue_limit', 'Max requests that may wait for a slot.');
    this.#workers = this.#gauge(
      'lmserv_workers',
      'Workers by state; dead are configured workers without a process.',
      ['state'],
    );
    this.#memory = this.#gauge(
      'lmserv_worker_memory_bytes',
      'Memory of the worker at a position of the pool: anonymous is private, mapped may be shared between workers.',
      ['worker', 'kind'],
    );
    this.#loaded = this.#gauge(
      'lmserv_worker_model_memory_bytes',
      'Memory that the model of a worker takes on a device, as llama.cpp reports it: model, context, compute.',
      ['worker', 'device', 'kind'],
    );
    this.#layers = this.#gauge(
      'lmserv_worker_layers',
      'Layers of the model of a worker by where they compute: gpu or cpu.',
      ['worker', 'place'],
    );
    this.#lackingGpu = this.#gauge(
      'lmserv_workers_lacking_gpu',
      'Workers that compute on the CPU although layers on a GPU were requested.',
    );
    this.#requests = new Counter({
      name: 'lmserv_worker_requests_total',
      help: 'Requests finished by the worker at a position of the pool; its replacement begins at 0.',
      labelNames: ['model', 'worker'],
      registers: [registry],
    });
    this.#startTime = this.#gauge(
      'lmserv_worker_start_time_seconds',
      'Unix time at which the current worker at a position of the pool was spawned.',
      ['worker'],
    );
    this.#llamaCpp = this.#gauge(
      'lmserv_llama_cpp_info',
      'The version of llama.cpp that a model runs on; always 1.',
      ['version'],
    );
  }

  /** Sets the state of all models and drops what no longer exists. */
  async update(models: readonly ServedModel[]): Promise<void> {
    const memory = await this.#readMemory(models);
    for (const metric of [...this.#gauges, this.#requests]) metric.reset();
    for (const served of models) {
      this.#setModel(served);
      if (isPool(served.status)) this.#setPool(served);
      for (const worker of served.workers) this.#setWorker(worker, memory.get(worker));
    }
  }

  async #readMemory(models: readonly ServedModel[]): Promise<ReadonlyMap<WorkerInfo, ProcessMemory>> {
    const found = new Map<WorkerInfo, ProcessMemory>();
    const look = async (worker: WorkerInfo) => {
      const memory = worker.pid === undefined ? undefined : await this.#read(worker.pid);
      if (memory) found.set(worker, memory);
    };
    await Promise.all(models.flatMap(({ workers }) => workers.map(look)));
    return found;
  }

  // A model may have several backends, and a position two processes while one replaces the other, so counts are added.

  #setModel({ model, status, llamaCpp }: ServedModel): void {
    if (status.ready) this.#ready.set({ model }, 1);
    else this.#ready.inc({ model }, 0);
    if (llamaCpp !== undefined) this.#llamaCpp.set({ model, version: llamaCpp }, 1);
  }

  #setPool({ model, status, workers, memoryBytes }: ServedModel): void {
    if (status.state !== undefined)
      for (const state of STATES) this.#state.inc({ model, state }, Number(state === status.state));
    if (memoryBytes !== undefined) this.#modelMemory.inc({ model }, memoryBytes);
    this.#slots.inc({ model }, status.slots.total);
    this.#slotsIdle.inc({ model }, status.slots.idle);
    this.#waiting.inc({ model }, status.queue.waiting);
    this.#limit.inc({ model }, status.queue.limit);
    for (const state of ACTIVITIES) {
      this.#workers.inc({ model, state }, workers.filter((worker) => worker.state === state).length);
    }
    this.#workers.inc({ model, state: 'dead' }, status.workers.dead);
    this.#lackingGpu.inc({ model }, workers.filter(({ offload }) => offload?.lacking).length);
  }

  #setWorker(worker: WorkerInfo, memory: ProcessMemory | undefined): void {
    const position: Position = { model: worker.model, worker: worker.position };
    if (memory) {
      this.#memory.inc({ ...position, kind: 'anonymous' }, memory.anonymous);
      this.#memory.inc({ ...position, kind: 'mapped' }, memory.mapped);
    }
    this.#setLoad(position, worker);
    // A worker that is leaving no longer serves.
    if (worker.state === 'draining') return;
    this.#requests.inc(position, worker.requests);
    this.#startTime.set(position, worker.startedAt / 1000);
  }

  #setLoad(position: Position, { memory = [], offload }: WorkerInfo): void {
    for (const { device, ...bytes } of memory) {
      for (const kind of PARTS) this.#loaded.inc({ ...position, device, kind }, bytes[kind]);
    }
    if (offload?.total === undefined) return;
    this.#layers.inc({ ...position, place: 'gpu' }, offload.offloaded);
    this.#layers.inc({ ...position, place: 'cpu' }, offload.total - offload.offloaded);
  }

  #gauge(name: string, help: string, extraLabels: readonly string[] = []): Gauge {
    const gauge = new Gauge({
      name,
      help,
      labelNames: ['model', ...extraLabels],
      registers: [this.#registry],
    });
    this.#gauges.push(gauge);
    return gauge;
  }
}
