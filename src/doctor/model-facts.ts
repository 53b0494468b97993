/** What a model's header says about it, and how much memory its workers take. Pure. */

import type { GgufHeader } from '../install/models/gguf.js';
import type { CheckedModel } from './settings.js';

/** What a model's header says about it; undefined where it says nothing. */
interface ModelFacts {
  readonly architecture: string | undefined;
  readonly name: string | undefined;
  /** Tokens of context it was trained with. */
  readonly trainedContext: number | undefined;
  readonly chatTemplate: boolean;
  /** Bytes of cache for one token of context, roughly. */
  readonly bytesPerToken: number | undefined;
}

export interface ModelFile {
  readonly path: string;
  /** Of all parts, bytes. */
  readonly size: number;
  readonly facts: ModelFacts;
}

/** Bytes of one cached number: llama.cpp stores f16 by default. */
const CACHE_BYTES = 2;

export function modelFacts({ fields }: GgufHeader): ModelFacts {
  const architecture = textOf(fields.get('general.architecture'));
  const own = (field: string) => fields.get(`${architecture}.${field}`);
  return {
    architecture,
    name: textOf(fields.get('general.name')),
    trainedContext: countOf(own('context_length')),
    chatTemplate: textOf(fields.get('tokenizer.chat_template')) !== undefined,
    bytesPerToken: bytesPerToken(own),
  };
}

type Field = ReturnType<GgufHeader['fields']['get']>;

/** Keys and values of every layer's heads. Models with a smaller cache (sliding window, latent) take less. */
function bytesPerToken(own: (field: string) => Field): number | undefined {
  const layers = countOf(own('block_count'));
  const heads = countOf(own('attention.head_count'));
  const embedding = countOf(own('embedding_length'));
  const width = embedding !== undefined && heads !== undefined ? embedding / heads : undefined;
  const keys = countOf(own('attention.key_length')) ?? width;
  const values = countOf(own('attention.value_length')) ?? width;
  const cachedHeads =
    layers === undefined ? undefined : headsOfAll(own('attention.head_count_kv'), layers, heads);
  if (keys === undefined || values === undefined || cachedHeads === undefined) return undefined;
  return Math.ceil(cachedHeads * (keys + values) * CACHE_BYTES);
}

/** Heads over all layers: the field holds one number per layer, or one for all. */
function headsOfAll(field: Field, layers: number, heads: number | undefined): number | undefined {
  if (Array.isArray(field)) return (field as number[]).reduce((sum, each) => sum + (countOf(each) ?? 0), 0);
  const each = countOf(field) ?? heads;
  return each === undefined ? undefined : each * layers;
}

function countOf(field: Field): number | undefined {
  return typeof field === 'number' && Number.isSafeInteger(field) && field > 0 ? field : undefined;
}

function textOf(field: Field): string | undefined {
  return typeof field === 'string' && field !== '' ? field : undefined;
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
