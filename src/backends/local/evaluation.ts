import type { EvaluationRequest, Json, JsonObject } from '../../contract.js';
import { LMServError } from '../../errors.js';
import type { ChildRefusal } from '../../../workers/child-http.js';
import type { Post } from './special-tokens.js';

/** Inputs or documents of a request that are put to a worker together, in one slot. */
export interface Part {
  readonly path: '/v1/embeddings' | '/v1/rerank';
  readonly body: JsonObject;
  /** Position of its first input in the request. */
  readonly first: number;
  /** Each input as a raw prompt, for whoever looks at prompts. */
  readonly prompts: readonly Json[];
  /** The field of the client's request that each comes from. */
  readonly params: readonly string[];
  /** A text that is too long may be cut. */
  readonly truncate?: boolean | undefined;
}

/** Max inputs of a part. More would save little, and a worker's failure repeats the whole part. */
const MAX_TOGETHER = 16;

/**
 * Divides a request into parts: one input, or several that are together no longer than one may be, so that no part keeps
 * others waiting for longer than the longest input does.
 *
 * @param context in tokens; a text has hardly more tokens than characters.
 */
export function partsOf(request: EvaluationRequest, context: number): Part[] {
  const lengths =
    request.task === 'embed'
      ? request.inputs.map(({ length }) => length)
      : request.documents.map(({ length }) => length + request.query.length);
  const parts: Part[] = [];
  for (let first = 0, next = 0; first < lengths.length; first = next) {
    let total = 0;
    do total += lengths[next++]!;
    while (next < lengths.length && next - first < MAX_TOGETHER && total + lengths[next]! <= context);
    parts.push(partOf(request, first, next));
  }
  return parts;
}

/** The inputs of a part, each alone. */
export function singlesOf(request: EvaluationRequest, { first, prompts }: Part): Part[] {
  return prompts.map((_, offset) => partOf(request, first + offset, first + offset + 1));
}

function partOf(request: EvaluationRequest, first: number, next: number): Part {
  if (request.task === 'rerank') {
    const { query } = request;
    const documents = request.documents.slice(first, next);
    const prompts = documents.map((document) => `${query}\n${document}`);
    const params = documents.map((_, offset) => `documents.${first + offset}`);
    return { path: '/v1/rerank', body: { query, documents }, first, prompts, params };
  }
  const prompts = request.inputs
    .slice(first, next)
    .map((input) => (typeof input === 'string' ? input : [...input]));
  const body = { input: prompts, encoding_format: 'base64' };
  const isAlone = request.inputs.length === 1;
  const params = prompts.map((_, offset) => (isAlone ? 'input' : `input.${first + offset}`));
  return { path: '/v1/embeddings', body, first, prompts, params, truncate: request.truncate };
}

/** Why a worker refused a part of one input, for the client. */
export function partRefusal({ status, type, message }: ChildRefusal, { params, path }: Part): LMServError {
  const param = params[0]!;
  const excess = excessOf(message);
  if (excess) {
    const what = path === '/v1/rerank' ? 'has, with the query,' : 'has';
    const { tokens, max } = excess;
    const words = `${param}: ${what} ${tokens} tokens, beyond the model's maximum context length of ${max}`;
    return new LMServError('context_length_exceeded', words, { param });
  }
  if (status >= 400 && status < 500 && type !== 'not_supported_error') {
    const isUnknown = message.includes('invalid tokens');
    const words = isUnknown
      ? "contains token ids outside the model's vocabulary"
      : message.slice(0, MAX_MESSAGE);
    return new LMServError('invalid_value', `${param}: ${words}`, { param });
  }
  return new LMServError('generation_failed', 'The worker could not evaluate the input');
}

/** Max characters of a worker's message that are passed on. */
export const MAX_MESSAGE = 500;

/** llama.cpp's words for a text beyond a batch, which has the size of the context, or beyond the context itself. */
const TOO_LONG = /\((\d+) tokens\)(?= is too large| is larger| exceeds).*?(?:size: |size \()(\d+)/;

/** How many tokens a refused text has and may have; undefined if it is not its length that is refused. */
function excessOf(message: string): { tokens: number; max: number } | undefined {
  const [, tokens, size] = TOO_LONG.exec(message) ?? [];
  if (tokens === undefined) return undefined;
  // Where a text may be evaluated in several batches, llama.cpp wants one token to spare.
  return { tokens: Number(tokens), max: message.startsWith('request') ? Number(size) - 1 : Number(size) };
}

/**
 * The body of a refused part with its text cut to what the model takes; what the model expects at the end of each text
 * stays. Undefined if the text may not be cut, or was not refused for its length.
 *
 * @throws what `post` throws.
 */
export async function cutBody(
  { body, prompts, truncate }: Part,
  { message }: ChildRefusal,
  post: Post,
): Promise<JsonObject | undefined> {
  const max = excessOf(message)?.max;
  if (truncate !== true || prompts.length > 1 || max === undefined) return undefined;
  const tokenize = async (content: Json, special = true) => {
    const asked = { content, add_special: special, parse_special: true };
    return ((await post('/tokenize', asked)) as { tokens: number[] }).tokens;
  };
  const [whole, word, bare] = await Promise.all([tokenize(prompts[0]!), tokenize('x'), tokenize('x', false)]);
  const ending = word.slice(word.lastIndexOf(bare.at(-1)!) + 1);
  return { ...body, input: [[...whole.slice(0, max - ending.length), ...ending]] };
}

/** The first numbers of a vector, as a vector of length 1. */
export function cut(vector: ArrayLike<number>, dimensions: number): Float32Array {
  const kept = Float32Array.from({ length: dimensions }, (_, i) => vector[i]!);
  const length = Math.hypot(...kept);
  return kept.map((number) => number / length);
}
