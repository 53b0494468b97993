import type { BenchOptions } from '../benchmark.js';
import type { ModelName } from '../model/models.js';

/** One kind of load that every target gets in turn. */
export interface Load {
  readonly streams: number;
  /** Tokens of each reply. */
  readonly tokens: number;
  /** Min events of one measurement. */
  readonly events: number;
}

/** How much is measured with one model. */
export interface Plan {
  readonly loads: readonly Load[];
  readonly rounds: number;
}

const STREAMS = { full: [1, 8, 32], quick: [1, 8] };
const ROUNDS = { full: 5, quick: 2 };

/** A larger model is slower: fewer events take as long. `requests` are one-token replies, whose cost is the request's. */
const AMOUNTS: Record<ModelName, { tokens: number; events: number; requests: number }> = {
  demo: { tokens: 128, events: 4096, requests: 200 },
  large: { tokens: 32, events: 1024, requests: 100 },
};

export function planFor(model: ModelName, options: BenchOptions): Plan {
  const extent = options.quick ? 'quick' : 'full';
  const { tokens, events, requests } = AMOUNTS[model];
  const share = options.quick ? 0.5 : 1;
  const replies = (options.streams ?? STREAMS[extent]).map((streams) => ({
    streams,
    tokens: options.tokens ?? tokens,
    events: events * share,
  }));
  return {
    loads: [...replies, { streams: 1, tokens: 1, events: requests * share }],
    rounds: options.rounds ?? ROUNDS[extent],
  };
}
