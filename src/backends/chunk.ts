import type { JsonObject, Usage } from '../contract.js';
import type { RawFunction, RawToolCall } from './tool-calls.js';

/** A chunk as servers send it, or a whole reply; only the fields read here. */
export interface Chunk {
  readonly prompt_progress?: { readonly total: number; readonly cache?: number } | null;
  readonly choices?: readonly (RawChoice | null)[] | null;
  readonly usage?: RawUsage | null;
  /** What llama.cpp adds to the last chunk if asked to. */
  readonly __verbose?: { readonly stopping_word?: unknown } | null;
  /** Groq's place for the usage. */
  readonly x_groq?: { readonly usage?: RawUsage | null } | null;
}

export interface RawChoice {
  readonly index?: number | null;
  readonly delta?: RawMessage | null;
  /** Instead of `delta` in a whole reply, and in the chunks of some servers. */
  readonly message?: RawMessage | null;
  readonly text?: string | null;
  readonly logprobs?: { readonly content?: JsonObject[] | null } | null;
  readonly finish_reason?: string | null;
  /** vLLM's place for the stop string that ended the reply. */
  readonly stop_reason?: unknown;
  /** Moonshot's place for the usage. */
  readonly usage?: RawUsage | null;
}

export interface RawMessage {
  readonly content?: unknown;
  readonly refusal?: string | null;
  readonly reasoning_content?: unknown;
  readonly reasoning?: unknown;
  readonly thinking?: unknown;
  readonly reasoning_text?: unknown;
  readonly tool_calls?: readonly RawToolCall[] | null;
  /** OpenAI's older form of a call. */
  readonly function_call?: RawFunction | null;
}

type RawUsage = Readonly<Record<string, unknown>>;

/** A usage as far as its server counts. */
export type Counts = { readonly [K in keyof Usage]: number | undefined };

/** Reads the usage of a chunk, wherever it is. Numbers that cannot be are ignored: they are not worth a reply. */
export function readUsage(chunk: Chunk, choice: RawChoice | undefined): Counts | undefined {
  const usage = chunk.usage ?? choice?.usage ?? chunk.x_groq?.usage;
  if (typeof usage !== 'object' || usage === null) return undefined;
  const { prompt_tokens_details: details } = usage as { prompt_tokens_details?: JsonObject | null };
  return {
    promptTokens: readCount(usage.prompt_tokens ?? usage.input_tokens),
    completionTokens: readCount(usage.completion_tokens ?? usage.output_tokens),
    // DeepSeek's name, then Moonshot's.
    cachedTokens: readCount(details?.cached_tokens ?? usage.prompt_cache_hit_tokens ?? usage.cached_tokens),
  };
}

/** 0 and −1 mean that a server does not count. */
function readCount(raw: unknown): number | undefined {
  const count = typeof raw === 'string' && /^\d{1,12}$/.test(raw) ? Number(raw) : raw;
  return Number.isSafeInteger(count) && (count as number) > 0 ? (count as number) : undefined;
}
