/** Threads and slots of a model's workers where the operator leaves them to LMServ. */

import { availableParallelism } from 'node:os';

/**
 * Threads of each worker of a model; by default the cores are shared out among all `workers` of the server, which would
 * otherwise wait for one another.
 */
export function chooseThreads(model: { readonly threads?: number | undefined }, workers: number): number {
  return model.threads ?? Math.max(1, Math.floor(availableParallelism() / workers));
}

/** A GPU decodes this many sequences hardly more slowly than one. */
const GPU_SLOTS = 4;

/** Two slots let a second caller start immediately; more would only share the same cores. */
const CPU_SLOTS = 2;

interface SlotSettings {
  readonly slots?: number | undefined;
  readonly threads?: number | undefined;
  readonly gpuLayers?: number | undefined;
  readonly gpus: readonly string[];
}

/**
 * Slots of each worker of a model; by default four on a GPU, two on a CPU, and one where a worker has one thread.
 *
 * @param binPath the llama.cpp that runs it: `npm run setup` keeps builds for a GPU in a folder of their own.
 */
export function chooseSlots(model: SlotSettings, workers: number, binPath: string | undefined): number {
  if (model.slots !== undefined) return model.slots;
  const gpuBuild = /build-(?:cuda|vulkan|metal)\b/.test(binPath ?? '') && model.gpuLayers !== 0;
  if (gpuBuild || (model.gpuLayers ?? 0) > 0 || model.gpus.length > 0) return GPU_SLOTS;
  return chooseThreads(model, workers) > 1 ? CPU_SLOTS : 1;
}
