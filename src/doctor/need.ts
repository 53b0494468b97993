/** How much memory the workers of a model take, roughly. Pure arithmetic. */
import type { ModelFile } from './facts.js';
import type { CheckedModel } from './settings.js';

/** Bytes. */
export interface Need {
  /** One copy of the weights. */
  readonly weights: number;
  /** Over all workers and slots. */
  readonly contexts: number;
  readonly promptCache: number;
  /** Each worker with weights of its own. */
  readonly total: number;
  /** The workers sharing the weights, as they do when llama.cpp can leave them mapped from the file. */
  readonly least: number;
}

export function needOf(model: CheckedModel, { size, facts }: ModelFile): Need {
  const tokens = model.context * model.slots * model.workers;
  const contexts = tokens * (facts.bytesPerToken ?? 0);
  // Without CACHE_RAM_MB the cache is a share of what is free, so it always fits.
  const promptCache = (model.cacheRamMb ?? 0) * 2 ** 20;
  return {
    weights: size,
    contexts,
    promptCache,
    total: size * model.workers + contexts + promptCache,
    least: size + contexts + promptCache,
  };
}

export function sumOf(needs: readonly Need[]): Need {
  const sum = (field: keyof Need) => needs.reduce((total, need) => total + need[field], 0);
  return {
    weights: sum('weights'),
    contexts: sum('contexts'),
    promptCache: sum('promptCache'),
    total: sum('total'),
    least: sum('least'),
  };
}
