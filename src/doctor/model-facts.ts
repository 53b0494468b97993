import type { GgufHeader } from './gguf.js';

/** What a model's header says of it; undefined is what it does not say. */
export interface ModelFacts {
  readonly architecture: string | undefined;
  readonly name: string | undefined;
  /** Tokens it was trained with. */
  readonly trainedContext: number | undefined;
  readonly chatTemplate: boolean;
  /** Roughly, of the cache that a token of context takes, bytes. */
  readonly bytesPerToken: number | undefined;
}

/** Bytes of one cached number: llama.cpp keeps them as f16 unless told. */
const CACHE_BYTES = 2;

/** Pure. */
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

/** Heads over all layers: the field is one number for each layer, or one for all of them. */
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
