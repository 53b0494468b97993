import type { JsonObject } from '../../contract.js';
import { anyOf } from './phrases.js';

/** Sent by LMServ itself: without usage it counts the tokens, without progress it estimates the prompt; it reads either encoding. */
const OWN = [
  'stream_options',
  'return_progress',
  'sse_ping_interval',
  'cache_prompt',
  'verbose',
  'encoding_format',
  'top_n',
] as const;

/**
 * Fields that constrain nothing: without them the reply has the same form and limits, only its course may differ, or LMServ
 * counts something itself. A server that rejects one of them is asked again without it. All other fields are what the
 * client relies on (tools, response_format, stop, max_tokens, logit_bias, logprobs …) and are never left out.
 */
const DISPENSABLE: ReadonlySet<string> = new Set([
  ...OWN,
  // Tuning of the sampler.
  ...'temperature top_p top_k min_p typical_p top_n_sigma xtc_probability xtc_threshold'.split(' '),
  ...'dynatemp_range dynatemp_exponent repeat_penalty repeat_last_n frequency_penalty presence_penalty'.split(
    ' ',
  ),
  ...'dry_multiplier dry_base dry_allowed_length dry_penalty_last_n mirostat mirostat_tau mirostat_eta'.split(
    ' ',
  ),
  // A best effort everywhere.
  'seed',
  // How long a model thinks, and whether its calls may come together, is a wish that many models ignore anyway.
  ...['reasoning_effort', 'chat_template_kwargs', 'thinking_budget_tokens', 'parallel_tool_calls'],
  // Accounting at the provider.
  ...['user', 'service_tier', 'store', 'metadata'],
]);

/** How long a server's rejection is remembered, milliseconds; it may be updated. */
const MEMORY_MS = 3_600_000;

/** The fields that one server rejects, at most those above. */
export class RejectedFields {
  readonly #until = new Map<string, number>();

  /** @param now monotonic, milliseconds. @returns whether this was not known. */
  add(field: string, now: number): boolean {
    const isNew = !this.#has(field, now);
    this.#until.set(field, now + MEMORY_MS);
    return isNew;
  }

  /** The body without the fields. */
  without(body: JsonObject, now: number): JsonObject {
    return withoutFields(
      body,
      [...this.#until.keys()].filter((field) => this.#has(field, now)),
    );
  }

  #has(field: string, now: number): boolean {
    return now < (this.#until.get(field) ?? now);
  }
}

export function withoutFields(body: JsonObject, fields: readonly string[]): JsonObject {
  if (fields.length === 0) return body;
  return Object.fromEntries(Object.entries(body).filter(([name]) => !fields.includes(name)));
}

/** Phrases of servers that do not take a field at all. */
const FIELD_WORDS = anyOf(
  /unrecogni[sz]ed|unknown|unsupported(?![ _]value)|unexpected/,
  /extra (inputs|fields)|extra_forbidden|additional propert|cannot find field|no such field/,
  /invalid (parameter|argument|field)\b|only the default/,
  /\bnot (yet )?(supported|permitted|allowed|recogni[sz]ed|accepted|implemented|available)/,
  /(not|n't) (support|accept|recogni[sz]e|allow|know|exist)/,
);

/** Phrases of servers that do not take the value. The client can change it, and others send better ones. */
const VALUE_WORDS = anyOf(
  /\b(must|should|less than|greater than|at most|at least|between|range)\b/,
  /\btoo (large|small|high|long|many)\b|invalid.value|unsupported.value(?!.*only the default)/,
);

export interface Rejection {
  /** At least one. */
  readonly fields: readonly string[];
  /** Without them the request can be sent again. */
  readonly dispensable: boolean;
  /** The server does not take them at all, whatever their values, so that it need not be asked again. */
  readonly lasting: boolean;
}

/**
 * Finds the fields of a request that a server's error rejects; undefined if it is about something else. Pure.
 *
 * @param body what the server was sent.
 * @param words the error's tags and words.
 * @param named the paths of fields that the error names as such.
 */
export function findRejected(
  body: JsonObject,
  words: string,
  named: readonly string[],
): Rejection | undefined {
  const isValue = VALUE_WORDS.test(words);
  const isField = FIELD_WORDS.test(words) && !isValue;
  const tops = named.map((path) => path.split(/[.[]/)[0]!).filter((name) => Object.hasOwn(body, name));
  const mentioned = isField ? Object.keys(body).filter((name) => mentions(words, name)) : [];
  const fields = [...new Set(tops.length > 0 ? tops : mentioned)];
  if (fields.length === 0) return undefined;
  const isOwn = fields.every((field) => OWN.some((own) => own === field));
  const dispensable = fields.every((field) => DISPENSABLE.has(field)) && (isOwn || !isValue);
  return { fields, dispensable, lasting: dispensable && (isOwn || isField) };
}

/** Whether a text names a field: names that are also English words must be quoted or introduced. */
function mentions(words: string, name: string): boolean {
  if (name.includes('_')) {
    const camel = name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
    return new RegExp(`(?<![\\w-])(?:${name}|${camel})(?![\\w-])`).test(words);
  }
  const introduced = `(?:parameter|argument|field|property|option|key|input|name|supplied)s?[\\s:]{1,3}${name}\\b`;
  const leading = `(?:^|[;,.:]\\s)${name}(?::|,? (?:is|are|parameter|field|argument)\\b)`;
  return new RegExp(`['"\`]${name}['"\`]|-> ${name}\\b|${introduced}|${leading}`, 'i').test(words);
}
