import type { Evaluation, ModelTask } from '../contract.js';
import { LMServError } from '../errors.js';
import { check } from '../wire/bad-reply.js';
import { isObject } from '../wire/json-shape.js';

/** What llama.cpp says of a document that it could not rate. */
const FAILED_SCORE = -1e6;

/**
 * Reads the reply of a worker or a remote server to embeddings or a rerank, whose parts may come in any order.
 *
 * @param count of inputs or documents; each must have its vector or score.
 * @throws BadReply for a reply of another form, LMServError `invalid_response` for numbers that are none.
 */
export function readEvaluation(task: Exclude<ModelTask, 'chat'>, reply: unknown, count: number): Evaluation {
  check(isObject(reply));
  const items = task === 'embed' ? reply.data : reply.results;
  check(Array.isArray(items) && items.length === count);
  const vectors: (ArrayLike<number> | undefined)[] = Array.from({ length: count }, () => undefined);
  for (const [position, item] of items.entries()) {
    check(isObject(item));
    const index = Number(item.index ?? position);
    check(index in vectors && vectors[index] === undefined);
    vectors[index] = task === 'embed' ? readVector(item.embedding) : [readScore(item)];
  }
  return { vectors: vectors as ArrayLike<number>[], promptTokens: readTokens(reply.usage) };
}

/** A list of numbers, or base64 of little-endian floats. */
function readVector(raw: unknown): Float32Array {
  const vector = typeof raw === 'string' ? fromBase64(raw) : toFloats(raw);
  check(vector.length > 0);
  // A vector of zeros is what llama.cpp sends when it has computed none.
  if (!vector.every(Number.isFinite) || vector.every((number) => number === 0)) throw noNumbers();
  return vector;
}

function fromBase64(text: string): Float32Array {
  const bytes = Buffer.from(text, 'base64');
  check(bytes.length % FLOAT_BYTES === 0);
  return Float32Array.from({ length: bytes.length / FLOAT_BYTES }, (_, i) =>
    bytes.readFloatLE(i * FLOAT_BYTES),
  );
}

const FLOAT_BYTES = 4;

/** What is not finite is null in JSON. */
function toFloats(raw: unknown): Float32Array {
  check(Array.isArray(raw));
  return Float32Array.from(raw, (number: unknown) => (typeof number === 'number' ? number : NaN));
}

function readScore({
  relevance_score,
  score = relevance_score,
}: {
  readonly [name: string]: unknown;
}): number {
  check(score === null || typeof score === 'number');
  if (score === null || !Number.isFinite(score) || score === FAILED_SCORE) throw noNumbers();
  return score;
}

function noNumbers(): LMServError {
  return new LMServError('invalid_response', 'The model gave numbers that are not finite, or none');
}

/** Rerank servers often count only a total, or nothing. */
function readTokens(usage: unknown): number {
  if (!isObject(usage)) return 0;
  const tokens = usage.prompt_tokens ?? usage.total_tokens;
  return typeof tokens === 'number' ? tokens : 0;
}
