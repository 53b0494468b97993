import type { BenchOptions } from '../benchmark.js';
import type { ModelName } from '../model/models.js';

/** How much is measured with one model. */
export interface Plan {
  readonly streams: readonly number[];
  readonly rounds: number;
  /** Of each reply. */
  readonly tokens: number;
  /** Least events of one measurement. */
  readonly events: number;
}

/** A larger model is slower: fewer events take as long. */
const FULL: Record<ModelName, Plan> = {
  demo: { streams: [1, 8, 32, 128], rounds: 5, tokens: 64, events: 4096 },
  large: { streams: [1, 8, 32, 128], rounds: 5, tokens: 32, events: 1024 },
};

const QUICK: Record<ModelName, Plan> = {
  demo: { streams: [1, 8], rounds: 2, tokens: 64, events: 2048 },
  large: { streams: [1, 8], rounds: 2, tokens: 32, events: 512 },
};

export function planFor(model: ModelName, options: BenchOptions): Plan {
  const plan = (options.quick ? QUICK : FULL)[model];
  return {
    ...plan,
    streams: options.streams ?? plan.streams,
    rounds: options.rounds ?? plan.rounds,
    tokens: options.tokens ?? plan.tokens,
  };
}
