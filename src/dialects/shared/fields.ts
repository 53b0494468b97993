import { z } from 'zod';
import type { Json, JsonObject } from '../../contract.js';
import { isSmallGrammar } from './grammar-size.js';
import { isObject, list, map, optional } from './validate.js';

/** Largest value that llama.cpp reads into its 32-bit integers. */
const INT32 = 2_147_483_647;

const int = (min: number, max = INT32) => optional(z.int().min(min).max(max));
const number = (min: number, max: number) => optional(z.number().min(min).max(max));

/** Tokens; a worker sets aside memory for as many as it is told. */
const LONGEST_LOOK_BACK = 1_048_576;

/** Far above any use; it keeps a finite number from becoming an infinite 32-bit one in the worker. */
const BIG = 1e6;

/** A new text has no NUL and no half of a surrogate pair: neither can be tokenised, and both have crashed decoders. */
export const text = z
  .string()
  .refine((value) => !value.includes('\0'), 'must not contain NUL')
  .refine((value) => value.isWellFormed(), 'must not contain a lone surrogate');

/** An object of any form, its texts and names as those above. It was read as JSON, so its values are JSON. */
export const jsonObject = z
  .custom<JsonObject>(isObject, 'must be an object')
  .refine(hasWholeTexts, 'must contain neither NUL nor a lone surrogate');

function hasWholeTexts(value: Json): boolean {
  if (typeof value === 'string') return !value.includes('\0') && value.isWellFormed();
  if (value === null || typeof value !== 'object') return true;
  if (Array.isArray(value)) return value.every(hasWholeTexts);
  return Object.entries(value).every(([name, part]) => hasWholeTexts(name) && hasWholeTexts(part));
}

export const maxTokens = optional(z.int().min(1).max(INT32));
export const temperature = number(0, 2);
export const topP = number(0, 1);
/** A smaller one is 0 to the worker. */
export const repeatPenalty = optional(z.number().gt(0).min(1e-6).max(BIG));

/** A worker looks for each stop text at every token. */
const stopText = text.max(1_024);

/**
 * Sampling fields, OpenAI's and llama.cpp's, that every OpenAI-shaped route lets through. What is not here is dropped;
 * above all what would reach another user's state: `id_slot`, `cache_prompt`, `lora`, `slot…`.
 */
export const sampling = {
  max_tokens: maxTokens,
  max_completion_tokens: maxTokens,
  n_predict: maxTokens,
  temperature,
  top_p: topP,
  top_k: int(0),
  min_p: number(0, 1),
  typical_p: number(0, 1),
  top_n_sigma: number(-1, BIG),
  xtc_probability: number(0, 1),
  xtc_threshold: number(0, 1),
  dynatemp_range: number(0, BIG),
  dynatemp_exponent: number(0, BIG),
  repeat_penalty: repeatPenalty,
  repeat_last_n: int(0, LONGEST_LOOK_BACK),
  frequency_penalty: number(-2, 2),
  presence_penalty: number(-2, 2),
  dry_multiplier: number(0, BIG),
  dry_base: number(0, BIG),
  dry_allowed_length: int(0),
  dry_penalty_last_n: int(0, LONGEST_LOOK_BACK),
  mirostat: int(0, 2),
  mirostat_tau: number(0, BIG),
  mirostat_eta: number(0, BIG),
  seed: optional(z.int().transform(foldSeed)),
  ignore_eos: optional(z.boolean()),
  logit_bias: optional(map(/^\d{1,9}$/, 'must have token ids as keys', z.number().min(-100).max(100))),
  // A worker compiles it before its first token and cannot be stopped meanwhile.
  grammar: optional(text.max(65_536).refine(isSmallGrammar, 'has too many groups or repetitions')),
  stop: optional(
    z
      .union([stopText, list(stopText.min(1), { min: 0, max: 16 })])
      .transform((stop) => (stop === '' ? undefined : stop)),
  ),
};

/** OpenAI's seeds have 64 bits and llama.cpp's 32: the same one always becomes the same. -1 is a random one. */
function foldSeed(seed: number): number {
  return seed === -1 ? -1 : Math.abs(seed) % INT32;
}

/** How many tokens a request asks for, under whichever of the names it used. */
export function askedTokens(body: {
  max_tokens?: number | undefined;
  max_completion_tokens?: number | undefined;
  n_predict?: number | undefined;
}): number | undefined {
  return body.max_completion_tokens ?? body.max_tokens ?? body.n_predict;
}

export const modelName = optional(text.min(1).max(256));

/** How many choices; each takes a slot of its own or waits for one. */
export const choices = optional(z.int().min(1).max(16));

/** Removes what was not given, so that it does not reach the worker as `undefined` or null. */
export function compact<T extends object>(fields: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as never;
}
