/** What a model file's header says about its model. Pure. */

import type { ModelFacts, ModelTask } from '../contract.js';
import type { Field, GgufHeader } from '../install/models/gguf.js';
import { taskOf } from './kind.js';

/** undefined where the header says nothing. */
export interface FileFacts {
  readonly architecture: string | undefined;
  readonly name: string | undefined;
  /** Tokens of context it was trained with. */
  readonly trainedContext: number | undefined;
  readonly chatTemplate: boolean;
  readonly task: ModelTask;
  /** How the vectors of a text's tokens become one, as llama.cpp numbers the ways. */
  readonly pooling: number | undefined;
  /** As llama.cpp names it, such as `Q4_K - Medium`. */
  readonly quantization: string | undefined;
  /** How many numbers its tensors have; undefined of a split model, whose header tells only of the first part. */
  readonly parameters: number | undefined;
  /** Numbers that all layers keep for one token of context. */
  readonly keys: number | undefined;
  readonly values: number | undefined;
  readonly heads: number | undefined;
  /** Numbers of a token in the model. */
  readonly embedding: number | undefined;
  /** Numbers of a token inside a layer. */
  readonly feedForward: number | undefined;
  /** Tokens of the vocabulary. */
  readonly vocabulary: number | undefined;
}

/** @param split the header is that of the first part of several. */
export function fileFacts({ fields, parameters }: GgufHeader, split = false): FileFacts {
  const architecture = textOf(fields.get('general.architecture'));
  const own = (field: string) => fields.get(`${architecture}.${field}`);
  return {
    architecture,
    name: textOf(fields.get('general.name')),
    trainedContext: countOf(own('context_length')),
    chatTemplate: textOf(fields.get('tokenizer.chat_template')) !== undefined,
    task: taskOf({ fields }),
    pooling: countOf(own('pooling_type')),
    quantization: QUANTIZATIONS.get(Number(fields.get('general.file_type'))),
    parameters: split ? undefined : countOf(parameters),
    ...cachedNumbers(own),
    heads: largestOf(own('attention.head_count')),
    embedding: countOf(own('embedding_length')),
    feedForward: largestOf(own('feed_forward_length')),
    vocabulary: countOf(fields.get('tokenizer.ggml.tokens')),
  };
}

/** The same for `/v1/models`, of a model that has not been loaded yet. */
export function unloadedFacts(
  { architecture, quantization, parameters }: FileFacts,
  sizeBytes: number,
  { task, context: contextLength }: Pick<Work, 'task' | 'context'>,
  { mmproj, extraArgs }: { readonly mmproj?: string | undefined; readonly extraArgs: readonly string[] },
): ModelFacts {
  const hasProjector =
    mmproj !== undefined || extraArgs.some((arg) => /^(?:-mm|--mmproj(?:-url)?)(?:=|$)/.test(arg));
  const images = hasProjector ? (['images'] as const) : [];
  const capabilities = task === 'chat' ? (['chat', 'completion', ...images] as const) : [task];
  return { capabilities, architecture, contextLength, sizeBytes, quantization, parameters };
}

/** What the workers of a model do. */
export interface Work {
  readonly task: ModelTask;
  /** As in llama.cpp's option, where the file says nothing that fits the task. */
  readonly pooling: 'mean' | undefined;
  /** A text may be evaluated in several batches. */
  readonly splits: boolean;
  /** Of a slot, tokens. */
  readonly context: number;
}

/** What the configuration says about a model comes before what its file says. */
export function workOf(
  facts: Pick<FileFacts, 'task' | 'pooling' | 'trainedContext'>,
  settings: { readonly task?: ModelTask | undefined; readonly context: number },
): Work {
  const { task = facts.task, context } = settings;
  if (task === 'chat') return { task, pooling: undefined, splits: true, context };
  const pools = facts.pooling !== undefined && facts.pooling <= POOLING_LAST;
  return {
    task,
    pooling: task === 'embed' && !pools ? 'mean' : undefined,
    splits: task === 'embed' && facts.pooling === POOLING_LAST,
    // It has no places for more tokens than it was trained with.
    context: Math.min(context, facts.trainedContext ?? Infinity),
  };
}

/** llama.cpp's numbers of poolings: 1 to 3 are the mean, the first and the last token. */
const POOLING_LAST = 3;

type Own = (field: string) => Field | undefined;

/** Of every layer's heads. Models with a smaller cache (sliding window, recurrent layers) keep less. */
function cachedNumbers(own: Own): Pick<FileFacts, 'keys' | 'values'> {
  const layers = countOf(own('block_count'));
  const heads = largestOf(own('attention.head_count'));
  const embedding = countOf(own('embedding_length'));
  const width = embedding !== undefined && heads !== undefined ? embedding / heads : undefined;
  const cachedHeads =
    layers === undefined ? undefined : headsOfAll(own('attention.head_count_kv'), layers, heads);
  const of = (each: number | undefined) =>
    cachedHeads === undefined || each === undefined ? undefined : Math.ceil(cachedHeads * each);
  return {
    keys: of(countOf(own('attention.key_length')) ?? width),
    values: of(countOf(own('attention.value_length')) ?? width),
  };
}

/** Heads over all layers: the field holds one number per layer, or one for all. */
function headsOfAll(field: Field | undefined, layers: number, heads: number | undefined): number | undefined {
  if (Array.isArray(field)) return (field as number[]).reduce((sum, each) => sum + (countOf(each) ?? 0), 0);
  const each = countOf(field) ?? heads;
  return each === undefined ? undefined : each * layers;
}

/** Of a field that holds one number for all layers, or one per layer. */
function largestOf(field: Field | undefined): number | undefined {
  return countOf(Array.isArray(field) ? Math.max(0, ...(field as number[])) : field);
}

function countOf(field: Field | undefined): number | undefined {
  return typeof field === 'number' && Number.isSafeInteger(field) && field > 0 ? field : undefined;
}

function textOf(field: Field | undefined): string | undefined {
  return typeof field === 'string' && field !== '' ? field : undefined;
}

/** llama.cpp's names by `general.file_type`. */
const QUANTIZATIONS: ReadonlyMap<number, string> = new Map([
  [0, 'all F32'],
  [1, 'F16'],
  [2, 'Q4_0'],
  [3, 'Q4_1'],
  [7, 'Q8_0'],
  [8, 'Q5_0'],
  [9, 'Q5_1'],
  [10, 'Q2_K - Medium'],
  [11, 'Q3_K - Small'],
  [12, 'Q3_K - Medium'],
  [13, 'Q3_K - Large'],
  [14, 'Q4_K - Small'],
  [15, 'Q4_K - Medium'],
  [16, 'Q5_K - Small'],
  [17, 'Q5_K - Medium'],
  [18, 'Q6_K'],
  [19, 'IQ2_XXS - 2.0625 bpw'],
  [20, 'IQ2_XS - 2.3125 bpw'],
  [21, 'Q2_K - Small'],
  [22, 'IQ3_XS - 3.3 bpw'],
  [23, 'IQ3_XXS - 3.0625 bpw'],
  [24, 'IQ1_S - 1.5625 bpw'],
  [25, 'IQ4_NL - 4.5 bpw'],
  [26, 'IQ3_S - 3.4375 bpw'],
  [27, 'IQ3_S mix - 3.66 bpw'],
  [28, 'IQ2_S - 2.5 bpw'],
  [29, 'IQ2_M - 2.7 bpw'],
  [30, 'IQ4_XS - 4.25 bpw'],
  [31, 'IQ1_M - 1.75 bpw'],
  [32, 'BF16'],
  [36, 'TQ1_0 - 1.69 bpw ternary'],
  [37, 'TQ2_0 - 2.06 bpw ternary'],
  [38, 'MXFP4 MoE'],
  [39, 'NVFP4'],
]);
