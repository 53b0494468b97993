/** How much memory the workers of models take. Pure. */

import { batchOf } from '../../workers/options.js';
import { estimateMemory } from '../catalogue/estimate.js';
import { workOf, type FileFacts } from '../catalogue/facts.js';
import type { CheckedModel } from './settings.js';

export interface ModelFile {
  readonly path: string;
  /** Of all parts, bytes. */
  readonly size: number;
  readonly facts: FileFacts;
}

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
  const gpu = model.gpus[0];
  const { context, splits } = workOf(facts, model);
  const batch = batchOf({ ...model, ctxSize: context, splits, gpu });
  const estimate = estimateMemory(facts, size, { ...model, context, batch });
  // Without CACHE_RAM_MB the cache is a share of what is free, so it always fits.
  const promptCache = (model.cacheRamMb ?? 0) * 2 ** 20;
  return {
    weights: estimate.weights,
    contexts: estimate.cache * model.workers,
    promptCache,
    total: estimate.total + promptCache,
    least: estimate.shared + promptCache,
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
