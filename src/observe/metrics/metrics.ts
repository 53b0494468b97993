import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { PoolObserver } from '../pool-observer.js';
import { GenerationMetrics } from './generations.js';
import { ModelNames } from './model-names.js';
import { PoolMetrics } from './pools.js';
import { processMetrics } from './process.js';
import { RequestMetrics, type FinishedRequest } from './requests.js';
import { ServedModelMetrics, type ReadMemory, type ServedModel } from './served-models.js';

export interface MetricsOptions {
  /** LMServ's own. */
  readonly version: string;
  /** What serves now; asked at each scrape. */
  readonly models: () => readonly ServedModel[];
  /** How many log lines could not be written so far. */
  readonly droppedLogLines?: (() => number) | undefined;
  /** What the usage file has not taken so far. */
  readonly usageBacklog?: (() => { readonly rows: number; readonly uncounted: number }) | undefined;
  readonly memoryOf?: ReadMemory | undefined;
}

/** What Prometheus reads. */
export interface Exposition {
  readonly contentType: string;
  readonly body: string;
}

/** Everything that one LMServ counts, in a registry of its own. Labels take only values of our own or the operator's. */
export class Metrics {
  readonly #options: MetricsOptions;
  readonly #registry = new Registry();
  readonly #names = new ModelNames();
  readonly #requests = new RequestMetrics(this.#registry);
  readonly #generations = new GenerationMetrics(this.#registry, this.#names);
  readonly #pools = new PoolMetrics(this.#registry, this.#names);
  readonly #served: ServedModelMetrics;
  readonly #failures = new Counter({
    name: 'lmserv_backend_failures_total',
    help: 'Failures before the first token, after which the next backend of a group is tried, by error code.',
    labelNames: ['model', 'code'],
    registers: [this.#registry],
  });
  readonly #stalls = new Histogram({
    name: 'lmserv_event_loop_stall_seconds',
    help: 'Times in which the event loop was held up for more than a second, so that no request was served.',
    buckets: [2.5, 5, 10, 30, 60],
    registers: [this.#registry],
  });
  #scrape: Promise<Exposition> | undefined;

  constructor(options: MetricsOptions) {
    this.#options = options;
    this.#served = new ServedModelMetrics(this.#registry, options.memoryOf);
    this.#addBuildInfo(options.version);
    if (options.droppedLogLines) this.#addDroppedLogLines(options.droppedLogLines);
    if (options.usageBacklog) this.#addUsageBacklog(options.usageBacklog);
  }

  /** To be told by the pools of what happens in them. */
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

  /** Nothing could run for so many milliseconds. */
  stalled(ms: number): void {
    this.#stalls.observe(ms / 1000);
  }

  /** All series as they are now. Who asks while another is being answered gets the same answer. */
  expose(): Promise<Exposition> {
    this.#scrape ??= this.#expose().finally(() => (this.#scrape = undefined));
    return this.#scrape;
  }

  async #expose(): Promise<Exposition> {
    const models = this.#options.models();
    for (const { model, status } of models) {
      this.#generations.introduce(model);
      if (status.workers.total > 0) this.#pools.introduce(model);
    }
    const [process] = await Promise.all([processMetrics(), this.#served.update(models)]);
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

  #addUsageBacklog(backlog: NonNullable<MetricsOptions['usageBacklog']>): void {
    const registers = [this.#registry];
    new Gauge({
      name: 'lmserv_usage_rows_waiting',
      help: 'Rows of usage that are in memory only; many while the usage file cannot be written.',
      registers,
      collect() {
        this.set(backlog().rows);
      },
    });
    new Counter({
      name: 'lmserv_usage_requests_uncounted_total',
      help: 'Requests that are missing from the usage because it had no room in memory while its file could not be written.',
      registers,
      collect() {
        this.reset();
        this.inc(backlog().uncounted);
      },
    });
  }
}
