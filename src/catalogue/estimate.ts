/** How much memory the workers of a model will take, before any of them has been started. Pure. */

import type { FileFacts } from './facts.js';

/** The model's settings that decide about memory. */
export interface MemorySettings {
  readonly workers: number;
  /** Of each worker. */
  readonly slots: number;
  /** Of each slot, tokens. */
  readonly context: number;
  /** Tokens per batch. */
  readonly batch: number;
  /** Further arguments of llama.cpp, which may choose the type of the cache. */
  readonly extraArgs: readonly string[];
}

/** Bytes. */
export interface MemoryEstimate {
  /** One copy of the weights, with what comes beside them: the projector and the adapters. */
  readonly weights: number;
  /** Keys and values of all slots of one worker. An upper bound, above all of models with a sliding window. */
  readonly cache: number;
  /** Buffers and the process of one worker. A GPU's runtime and the images of a projector take more. */
  readonly compute: number;
  /** All workers, each with weights of its own, as on a GPU. */
  readonly total: number;
  /** All workers, when they share the weights, which llama.cpp leaves mapped from the file on a CPU. */
  readonly shared: number;
}

/**
 * Estimates the memory of a model's workers without the prompt cache, whose size is a setting.
 *
 * @param sizeBytes of the model's files together.
 */
export function estimateMemory(
  facts: FileFacts,
  sizeBytes: number,
  settings: MemorySettings,
): MemoryEstimate {
  const { workers } = settings;
  const cache = cacheBytes(facts, settings);
  const compute = computeBytes(facts, settings);
  const each = cache + compute;
  return {
    weights: sizeBytes,
    cache,
    compute,
    total: workers * (sizeBytes + each),
    shared: sizeBytes + workers * each,
  };
}

/** llama.cpp rounds the context of each slot up to this. */
const CELLS = 256;

const roundUp = (value: number, step: number): number => Math.ceil(value / step) * step;

function cacheBytes(
  { keys = 0, values = 0 }: FileFacts,
  { slots, context, extraArgs }: MemorySettings,
): number {
  const cells = roundUp(context, CELLS) * slots;
  const bytes = (numbers: number, ...names: string[]) => numbers * bytesOfType(extraArgs, names);
  const each = bytes(keys, '-ctk', '--cache-type-k') + bytes(values, '-ctv', '--cache-type-v');
  return Math.ceil(cells * each);
}

/** Bytes of a cached number by the names of llama.cpp's types. */
const CACHE_TYPES: Readonly<Record<string, number>> = {
  f32: 4,
  f16: 2,
  bf16: 2,
  q8_0: 34 / 32,
  q5_1: 24 / 32,
  q5_0: 22 / 32,
  q4_1: 20 / 32,
  q4_0: 18 / 32,
  iq4_nl: 18 / 32,
};

function bytesOfType(args: readonly string[], names: readonly string[]): number {
  return CACHE_TYPES[valueOf(args, names) ?? 'f16'] ?? CACHE_TYPES.f32!;
}

/** Of an argument NAME VALUE, the last if there are several, as llama.cpp takes it. */
function valueOf(args: readonly string[], names: readonly string[]): string | undefined {
  const at = args.findLastIndex((arg) => names.includes(arg));
  return at < 0 ? undefined : args[at + 1];
}

/** Bytes of a number in a buffer, and of one in a mask. */
const FLOAT = 4;
const HALF = 2;
/** Rows of a token that are in the buffer at once, of the width of the embedding and of the layer's inside. */
const EMBEDDING_ROWS = 4;
const FEED_FORWARD_ROWS = 3;
/** Architectures differ in their buffers. */
const MARGIN = 1.25;
/** Of a process that has loaded a small model: its libraries and its own data. */
const PROCESS_BYTES = 32 * 2 ** 20;
/** Of each token of the vocabulary, which is kept in several tables. */
const TOKEN_BYTES = 320;

function computeBytes(
  { vocabulary = 0, embedding = 0, feedForward = 0, heads = 0 }: FileFacts,
  { slots, context, batch, extraArgs }: MemorySettings,
): number {
  const rows = FLOAT * (EMBEDDING_ROWS * embedding + FEED_FORWARD_ROWS * feedForward);
  const cells = roundUp(context, CELLS);
  // Without flash attention the scores of all heads are in the buffer.
  const scores = valueOf(extraArgs, ['-fa', '--flash-attn']) === 'off' ? FLOAT * heads * cells : 0;
  const buffers = batch * (rows + HALF * cells + scores) * MARGIN;
  const tokens = vocabulary * (TOKEN_BYTES + FLOAT * slots);
  return Math.ceil(PROCESS_BYTES + tokens + buffers);
}
