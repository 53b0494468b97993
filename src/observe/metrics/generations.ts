import { Counter, Histogram, type Metric, type Registry } from 'prom-client';
import type { Trace } from '../../contract.js';
import { GAP_BOUNDS_MS } from '../token-gaps.js';
import type { ModelNames } from './model-names.js';

const FIRST_TOKEN_BUCKETS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120];

/** Metrics of generations, from the traces of requests that have ended. */
export class GenerationMetrics {
  readonly #registry: Registry;
  readonly #names: ModelNames;
  readonly #generations;
  readonly #promptTokens;
  readonly #completionTokens;
  readonly #firstToken;
  readonly #gaps;
  readonly #prefix;

  constructor(registry: Registry, names: ModelNames) {
    this.#registry = registry;
    this.#names = names;
    this.#generations = this.#counter(
      'lmserv_generations_total',
      'Generations that have ended, by the model that served last and by outcome.',
      ['outcome'],
    );
    this.#promptTokens = this.#counter(
      'lmserv_prompt_tokens_total',
      'Prompt tokens, including those found in a cache.',
    );
    this.#completionTokens = this.#counter('lmserv_completion_tokens_total', 'Tokens generated.');
    this.#firstToken = new Histogram({
      name: 'lmserv_time_to_first_token_seconds',
      help: 'Time from the start of a generation to its first token, including the wait for a slot.',
      labelNames: ['model'],
      buckets: FIRST_TOKEN_BUCKETS,
      registers: [registry],
    });
    this.#gaps = new CountedHistogram(
      registry,
      'lmserv_inter_token_latency_seconds',
      'Time between two consecutive tokens of a reply; every gap counts.',
      GAP_BOUNDS_MS.map((ms) => ms / 1000),
    );
    this.#prefix = {
      lookups: this.#counter(
        'lmserv_prefix_cache_lookups_total',
        'Generations that finished, so that their use of the prefix cache is known.',
      ),
      hits: this.#counter(
        'lmserv_prefix_cache_hits_total',
        'Finished generations that found a part of their prompt in the prefix cache.',
      ),
      promptTokens: this.#counter(
        'lmserv_prefix_cache_prompt_tokens_total',
        'Prompt tokens of finished generations.',
      ),
      hitTokens: this.#counter(
        'lmserv_prefix_cache_hit_tokens_total',
        'Prompt tokens of finished generations that were found in the prefix cache.',
      ),
    };
  }

  add(trace: Trace, outcome: string): void {
    const { firstTokenMs, tokenGaps: gaps } = trace;
    // It was refused before its model was chosen.
    if (trace.model === undefined) return;
    const model = this.#names.labelOf(trace.model);
    this.#generations.inc({ model, outcome });
    this.#promptTokens.inc({ model }, trace.promptTokens);
    this.#completionTokens.inc({ model }, trace.completionTokens);
    if (firstTokenMs !== undefined) this.#firstToken.observe({ model }, firstTokenMs / 1000);
    if (gaps) this.#gaps.add(model, { counts: gaps.counts, sum: gaps.sumMs / 1000 });
    // Backends report the use of their cache with the last event of a reply.
    if (trace.finishReason !== undefined) this.#addLookup(model, trace);
  }

  /** Shows a model's counters from the start, so that their first increase is not missed. */
  introduce(name: string): void {
    const model = this.#names.labelOf(name);
    const { lookups, hits, promptTokens, hitTokens } = this.#prefix;
    const all = [this.#promptTokens, this.#completionTokens, lookups, hits, promptTokens, hitTokens];
    for (const counter of all) counter.inc({ model }, 0);
    this.#generations.inc({ model, outcome: 'finished' }, 0);
  }

  #addLookup(model: string, { promptTokens, cachedTokens }: Trace): void {
    const prefix = this.#prefix;
    prefix.lookups.inc({ model });
    prefix.promptTokens.inc({ model }, promptTokens);
    prefix.hitTokens.inc({ model }, cachedTokens);
    if (cachedTokens > 0) prefix.hits.inc({ model });
  }

  #counter(name: string, help: string, extraLabels: readonly string[] = []): Counter {
    return new Counter({ name, help, labelNames: ['model', ...extraLabels], registers: [this.#registry] });
  }
}

/** Counts of one histogram: per bucket, the last one for values above all bounds, and the sum of the values. */
interface Counts {
  readonly counts: ArrayLike<number>;
  readonly sum: number;
}

interface Series {
  readonly counts: number[];
  sum: number;
}

interface Sample {
  readonly metricName: string;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
}

/**
 * A histogram by model that adds the counted values of a whole reply at once, because prom-client's histogram looks up
 * its labels for every value. The registry treats it like any other metric.
 */
class CountedHistogram {
  readonly #name: string;
  readonly #help: string;
  readonly #bounds: readonly number[];
  readonly #byModel = new Map<string, Series>();

  /** @param bounds upper bounds of the buckets, ascending, without infinity. */
  constructor(registry: Registry, name: string, help: string, bounds: readonly number[]) {
    this.#name = name;
    this.#help = help;
    this.#bounds = bounds;
    const metric = { name, get: async () => this.#get() };
    registry.registerMetric(metric as unknown as Metric);
  }

  add(model: string, { counts, sum }: Counts): void {
    const series = this.#series(model);
    for (const bucket of series.counts.keys()) series.counts[bucket]! += counts[bucket]!;
    series.sum += sum;
  }

  #series(model: string): Series {
    const known = this.#byModel.get(model);
    if (known) return known;
    const fresh = { counts: [...this.#bounds, Infinity].map(() => 0), sum: 0 };
    this.#byModel.set(model, fresh);
    return fresh;
  }

  /** The form in which the registry reads a metric. */
  #get() {
    const values = [...this.#byModel].flatMap(([model, series]) => this.#samples(model, series));
    return { name: this.#name, help: this.#help, type: 'histogram', aggregator: 'sum', values };
  }

  #samples(model: string, { counts, sum }: Series): Sample[] {
    let count = 0;
    const buckets = counts.map((more, bucket) => {
      count += more;
      const labels = { le: this.#bounds[bucket] ?? '+Inf', model };
      return { metricName: `${this.#name}_bucket`, labels, value: count };
    });
    return [
      ...buckets,
      { metricName: `${this.#name}_sum`, labels: { model }, value: sum },
      { metricName: `${this.#name}_count`, labels: { model }, value: count },
    ];
  }
}
