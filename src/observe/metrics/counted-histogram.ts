import type { Metric, Registry } from 'prom-client';

/** Counts of one histogram: per bucket, the last one for what is above all bounds, and the sum of the values. */
export interface Counts {
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
 * A histogram by model that takes over values which were counted elsewhere, a whole reply's in one go: prom-client's own
 * looks its labels up anew for each value. To the registry it is a metric like any other.
 */
export class CountedHistogram {
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
    const series = this.#seriesOf(model);
    for (const bucket of series.counts.keys()) series.counts[bucket]! += counts[bucket]!;
    series.sum += sum;
  }

  #seriesOf(model: string): Series {
    const known = this.#byModel.get(model);
    if (known) return known;
    const fresh = { counts: [...this.#bounds, Infinity].map(() => 0), sum: 0 };
    this.#byModel.set(model, fresh);
    return fresh;
  }

  /** The form in which the registry asks for a metric. */
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
