import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { Trace } from '../../contract.js';
import type { PoolObserver } from '../pool-observer.js';
import type { Gpu } from '../gpus.js';
import { GenerationMetrics } from './generations.js';
import { GpuMetrics } from './gpus.js';
import { ModelNames } from './model-names.js';
import { PoolMetrics } from './pools.js';
import { processMetrics } from './process.js';
import { isPool, ServedModelMetrics, type ReadMemory, type ServedModel } from './served-models.js';

export interface MetricsOptions {
  /** LMServ's version. */
  readonly version: string;
  /** The current models; read at each scrape. */
  readonly models: () => readonly ServedModel[];
  /** Number of log lines that could not be written. */
  readonly droppedLogLines?: (() => number) | undefined;
  /** Usage that has not been written to the usage file. */
  readonly usageBacklog?: (() => { readonly rows: number; readonly uncounted: number }) | undefined;
  readonly memoryOf?: ReadMemory | undefined;
  /** What local models may hold together, and what those in memory hold, bytes. */
  readonly memoryFigures?: (() => { readonly budget: number; readonly held: number }) | undefined;
  /** The GPUs that workers may use; read at each scrape. */
  readonly gpus?: (() => Promise<readonly Gpu[]>) | undefined;
}

/** A request that has ended; `RequestRecord` of `src/http` is one. */
export interface FinishedRequest {
  /** The pattern that matched, never the URL. */
  readonly route: string;
  readonly status: number;
  readonly outcome: string;
  readonly ms: number;
  readonly context: {
    /** It went to a route that generates. */
    readonly generated: boolean;
    readonly trace: Trace;
    readonly error?: { readonly code: string };
  };
}

/** The text that Prometheus reads. */
export interface Exposition {
  readonly contentType: string;
  readonly body: string;
}

/** All metrics of one LMServ, in a separate registry. Label values come only from LMServ or the operator. */
export class Metrics {
  readonly #options: MetricsOptions;
  readonly #registry = new Registry();
  readonly #names = new ModelNames();
  readonly #requests = new RequestMetrics(this.#registry);
  readonly #generations = new GenerationMetrics(this.#registry, this.#names);
  readonly #pools = new PoolMetrics(this.#registry, this.#names);
  readonly #served: ServedModelMetrics;
  readonly #gpus = new GpuMetrics(this.#registry);
  readonly #failures = new Counter({
    name: 'lmserv_backend_failures_total',
    help: 'Failures before the first token after which the next backend of a group was tried, by error code.',
    labelNames: ['model', 'code'],
    registers: [this.#registry],
  });
  readonly #stalls = new Histogram({
    name: 'lmserv_event_loop_stall_seconds',
    help: 'Periods of more than a second in which the event loop was blocked, so that no request was served.',
    buckets: [2.5, 5, 10, 30, 60],
    registers: [this.#registry],
  });
  #scrape: Promise<Exposition> | undefined;

  constructor(options: MetricsOptions) {
    this.#options = options;
    this.#served = new ServedModelMetrics(this.#registry, options.memoryOf);
    this.#addBuildInfo(options.version);
    if (options.droppedLogLines) this.#addDroppedLogLines(options.droppedLogLines);
    if (options.memoryFigures) this.#addMemoryFigures(options.memoryFigures);
    if (options.usageBacklog) this.#addUsageBacklog(options.usageBacklog);
  }

  /** Receives what happens in the pools. */
  get poolObserver(): PoolObserver {
    return this.#pools;
  }

  requestDone(request: FinishedRequest): void {
    this.#requests.add(request);
    const { generated, trace } = request.context;
    if (generated) this.#generations.add(trace, request.outcome);
  }

  backendFailed(failure: { readonly model: string; readonly error: { readonly code: string } }): void {
    this.#failures.inc({ model: this.#names.labelOf(failure.model), code: failure.error.code });
  }

  /** The event loop was blocked for `ms` milliseconds. */
  stalled(ms: number): void {
    this.#stalls.observe(ms / 1000);
  }

  /** The current values of all series. Simultaneous scrapes share one result. */
  expose(): Promise<Exposition> {
    this.#scrape ??= this.#expose().finally(() => (this.#scrape = undefined));
    return this.#scrape;
  }

  async #expose(): Promise<Exposition> {
    const models = this.#options.models();
    for (const { model, status } of models) {
      this.#generations.introduce(model);
      if (isPool(status)) this.#pools.introduce(model);
    }
    const [process, gpus] = await Promise.all([
      processMetrics(),
      this.#options.gpus?.() ?? [],
      this.#served.update(models),
    ]);
    this.#gpus.update(gpus);
    return { contentType: this.#registry.contentType, body: `${await this.#registry.metrics()}\n${process}` };
  }

  #addBuildInfo(version: string): void {
    new Gauge({
      name: 'lmserv_build_info',
      help: 'The version of LMServ; always 1.',
      labelNames: ['version'],
      registers: [this.#registry],
    }).set({ version }, 1);
  }

  #addDroppedLogLines(dropped: () => number): void {
    new Counter({
      name: 'lmserv_log_lines_dropped_total',
      help: 'Log lines that could not be written.',
      registers: [this.#registry],
      collect() {
        this.reset();
        this.inc(dropped());
      },
    });
  }

  #addMemoryFigures(figures: NonNullable<MetricsOptions['memoryFigures']>): void {
    const registers = [this.#registry];
    new Gauge({
      name: 'lmserv_memory_budget_bytes',
      help: 'Memory that all local models may hold together, as last measured; 0 before the first measurement.',
      registers,
      collect() {
        this.set(figures().budget);
      },
    });
    new Gauge({
      name: 'lmserv_memory_held_bytes',
      help: 'Memory that the local models in memory hold.',
      registers,
      collect() {
        this.set(figures().held);
      },
    });
  }

  #addUsageBacklog(backlog: NonNullable<MetricsOptions['usageBacklog']>): void {
    const registers = [this.#registry];
    new Gauge({
      name: 'lmserv_usage_rows_waiting',
      help: 'Rows of usage that are only in memory; many while the usage file cannot be written.',
      registers,
      collect() {
        this.set(backlog().rows);
      },
    });
    new Counter({
      name: 'lmserv_usage_requests_uncounted_total',
      help: 'Requests missing from the usage table because memory was full while the usage file could not be written.',
      registers,
      collect() {
        this.reset();
        this.inc(backlog().uncounted);
      },
    });
  }
}

/** Seconds; a streamed reply may take minutes. */
const DURATION_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];

/** Requests as HTTP sees them. */
class RequestMetrics {
  readonly #requests;
  readonly #errors;
  readonly #duration;

  constructor(registry: Registry) {
    const registers = [registry];
    this.#requests = new Counter({
      name: 'lmserv_http_requests_total',
      help: 'Requests that have ended, by matched route, outcome (finished, cancelled, broken, refused) and status.',
      labelNames: ['route', 'outcome', 'status'],
      registers,
    });
    this.#errors = new Counter({
      name: 'lmserv_http_request_errors_total',
      help: 'Requests refused or broken, by error code.',
      labelNames: ['code'],
      registers,
    });
    this.#duration = new Histogram({
      name: 'lmserv_http_request_duration_seconds',
      help: 'Time from the arrival of a request to the end of its reply.',
      labelNames: ['route'],
      buckets: DURATION_BUCKETS,
      registers,
    });
  }

  add({ outcome, status, ms, context, ...request }: FinishedRequest): void {
    // In Express, the routes of a program may be lists and regular expressions.
    const route = String(request.route);
    this.#requests.inc({ route, outcome, status });
    this.#duration.observe({ route }, ms / 1000);
    if (context.error) this.#errors.inc({ code: context.error.code });
  }
}
