import { z } from 'zod';
import type { Json, JsonObject } from '../../contract.js';
import { isObject } from '../../wire/json-shape.js';
import { taking } from './input-schema.js';
import { filled, list, map, optional } from './validate.js';

/** Max value of llama.cpp's 32-bit integers. */
const INT32 = 2_147_483_647;

const int = (min: number, max: number) => optional(z.int().min(min).max(max));
const number = (min: number, max: number) => optional(z.number().min(min).max(max));

/** Any whole number, also one beyond the safe integers: clients send the largest number that they have for "all". */
const whole = z.number().refine(Number.isInteger, 'must be a whole number');

/** A whole number that is lowered to `max`. */
const upTo = (min: number, max: number) => whole.min(min).transform((value) => Math.min(value, max));

/** Tokens; the worker allocates memory for this many. */
const MAX_LOOK_BACK = 1_048_576;

/** -1 is llama.cpp's name for the whole context; its server refuses it, so it becomes the maximum. */
const lookBack = optional(
  upTo(-1, MAX_LOOK_BACK).transform((tokens) => (tokens === -1 ? MAX_LOOK_BACK : tokens)),
);

/** Far above any useful value; a larger one could become infinite as the worker's 32-bit float. */
const MAX_FLOAT = 1e6;

/** Text without NUL and lone surrogates, which cannot be tokenised and have crashed decoders. */
export const text = z
  .string()
  .refine((value) => !value.includes('\0'), 'must not contain NUL')
  .refine((value) => value.isWellFormed(), 'must not contain a lone surrogate');

/**
 * A text to evaluate. More characters fit into no context that is usual, and a worker would take minutes to tokenise a
 * text of nothing but control tokens.
 */
export const evaluated = text.max(262_144);

/** Any object that was parsed from JSON, whose strings and names are valid as above. */
export const jsonObject = taking(
  z
    .custom<JsonObject>(isObject, 'must be an object')
    .refine(hasValidStrings, 'must contain neither NUL nor a lone surrogate'),
  () => ({ type: 'object' }),
);

function hasValidStrings(value: Json): boolean {
  if (typeof value === 'string') return !value.includes('\0') && value.isWellFormed();
  if (value === null || typeof value !== 'object') return true;
  if (Array.isArray(value)) return value.every(hasValidStrings);
  return Object.entries(value).every(([name, part]) => hasValidStrings(name) && hasValidStrings(part));
}

/** Tokens; no context has as many, so from here on a limit is none. */
const BEYOND_ANY_CONTEXT = 1_000_000_000;

/** A limit that is none becomes the largest number, which is not sent to a backend. */
const tokens = whole.transform((limit) => (limit < BEYOND_ANY_CONTEXT ? limit : INT32));

export const maxTokens = optional(tokens.pipe(z.number().min(1)));

/** A limit where the context is the default: -1 and -2 mean no limit, as in llama.cpp. */
const tokenLimit = optional(
  tokens
    .refine((limit) => limit >= 1 || limit === -1 || limit === -2, 'must be at least 1, or -1 for no limit')
    .transform((limit) => (limit < 0 ? undefined : limit)),
);

export const temperature = number(0, 2);
export const topP = number(0, 1);
/** A smaller value would be 0 in the worker. */
export const repeatPenalty = optional(z.number().gt(0).min(1e-6).max(MAX_FLOAT));

/** The worker searches for each stop string at every token. */
const stopText = text.max(1_024);

/**
 * OpenAI's and llama.cpp's sampling fields that every OpenAI-shaped route accepts. All others are dropped, above all
 * those that would reach another user's state: `id_slot`, `cache_prompt`, `lora`, `slot…`.
 */
export const sampling = {
  max_tokens: tokenLimit,
  max_completion_tokens: tokenLimit,
  n_predict: tokenLimit,
  temperature,
  top_p: topP,
  // -1 and 0 both turn it off.
  top_k: optional(upTo(-1, INT32)),
  min_p: number(0, 1),
  typical_p: number(0, 1),
  top_n_sigma: number(-1, MAX_FLOAT),
  xtc_probability: number(0, 1),
  xtc_threshold: number(0, 1),
  dynatemp_range: number(0, MAX_FLOAT),
  dynatemp_exponent: number(0, MAX_FLOAT),
  repeat_penalty: repeatPenalty,
  repeat_last_n: lookBack,
  frequency_penalty: number(-2, 2),
  presence_penalty: number(-2, 2),
  dry_multiplier: number(0, MAX_FLOAT),
  dry_base: number(0, MAX_FLOAT),
  dry_allowed_length: optional(upTo(0, INT32)),
  dry_penalty_last_n: lookBack,
  mirostat: int(0, 2),
  mirostat_tau: number(0, MAX_FLOAT),
  mirostat_eta: number(0, MAX_FLOAT),
  seed: optional(z.number().refine(isSeed, 'must be a whole number of at most 64 bits').transform(foldSeed)),
  ignore_eos: optional(z.boolean()),
  logit_bias: filled(
    z
      .unknown()
      .transform(toBiasMap)
      .pipe(map(/^\d{1,9}$/, 'must have token ids as keys', z.number().min(-100).max(100))),
  ),
  stop: filled(
    z.union([stopText, list(optional(stopText), { min: 0, max: 16 }).transform(withoutEmpty)]),
  ).transform((stop) => (stop?.length === 0 ? undefined : stop)),
};

function withoutEmpty(texts: readonly (string | undefined)[]): string[] {
  return texts.filter((one) => one !== undefined && one !== '') as string[];
}

/** llama.cpp also takes a list of pairs, and false for a token that must not appear. */
function toBiasMap(value: unknown): unknown {
  const isList = Array.isArray(value) && value.every((pair) => Array.isArray(pair) && pair.length === 2);
  if (!isList && !isObject(value)) return value;
  const pairs = isList ? (value as [PropertyKey, unknown][]) : Object.entries(value as JsonObject);
  return Object.fromEntries(pairs.map(([token, bias]) => [token, bias === false ? -100 : bias]));
}

/** OpenAI's seeds have 64 bits with a sign, others' none. */
function isSeed(seed: number): boolean {
  return Number.isInteger(seed) && seed >= -(2 ** 63) && seed <= 2 ** 64;
}

/** Maps 64-bit seeds to llama.cpp's 32-bit ones, always in the same way. -1, also without its sign, means random. */
function foldSeed(seed: number): number | undefined {
  return seed === -1 || seed === 2 ** 32 - 1 ? undefined : Math.abs(seed) % INT32;
}

/** The requested number of tokens, under any of its three names. */
export function requestedTokens(body: {
  max_tokens?: number | undefined;
  max_completion_tokens?: number | undefined;
  n_predict?: number | undefined;
}): number | undefined {
  return body.max_completion_tokens ?? body.max_tokens ?? body.n_predict;
}

export const modelName = filled(text.max(256));

/** Number of choices; each one needs a slot. */
export const choices = optional(z.int().min(1).max(16));
