import type { LoadClient } from '../load/client.js';
import { measure, repliesFor, type Sample } from '../measure.js';
import { jobFor, nextPrompts, type Target } from '../targets/target.js';
import type { Load } from './plan.js';
import type { Started } from './targets.js';

/** One target beside the worker's own endpoint, measured in turns: `samples` and `beside` have a place for each round. */
export interface Pairing {
  readonly target: Target;
  readonly samples: Sample[];
  readonly beside: Sample[];
}

export interface RoundsOptions {
  readonly client: LoadClient;
  readonly load: Load;
  readonly rounds: number;
  readonly signal: AbortSignal;
  /** Called after each pair. */
  readonly onPair: () => void;
}

/** Measures direct, target, direct, next target …, round after round; a first round is not counted. */
export async function measureRounds(started: Started, options: RoundsOptions): Promise<Pairing[]> {
  const pairings = started.others.map((target): Pairing => ({ target, samples: [], beside: [] }));
  for (let round = 0; round <= options.rounds; round += 1) {
    for (const { target, samples, beside } of pairings) {
      const reference = await measureTarget(started.direct, options);
      const sample = await measureTarget(target, options);
      if (round > 0) beside.push(reference);
      if (round > 0) samples.push(sample);
      options.onPair();
    }
  }
  return pairings;
}

function measureTarget(target: Target, { client, load, signal }: RoundsOptions): Promise<Sample> {
  const { streams, tokens, events } = load;
  const texts = nextPrompts(repliesFor(streams, tokens, events));
  return measure(client, jobFor(target, texts, tokens, streams), target.pids, signal);
}
