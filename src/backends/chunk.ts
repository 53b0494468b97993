import type { Json, JsonObject, Usage } from '../contract.js';
import { BadReply, check, malformed, shown } from './bad-reply.js';
import type { RawFunction, RawToolCall } from './tool-calls.js';

/** A chunk as servers send it, or a whole reply; only the fields read here. */
export interface Chunk {
  readonly prompt_progress?: { readonly total: number } | null;
  readonly choices?: readonly (RawChoice | null)[] | null;
  readonly usage?: RawUsage | null;
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
  /** Moonshot's place for the usage. */
  readonly usage?: RawUsage | null;
}

interface RawMessage {
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

/** What one choice of a chunk adds to a reply. */
export interface Piece {
  readonly text: string;
  readonly reasoning: string;
  readonly calls: readonly RawToolCall[] | undefined;
}

/**
 * Reads a choice. A message counts where there is no delta: with both, it repeats the reply so far.
 *
 * @param empty nothing has come yet, so that a message beside an empty delta is the reply.
 * @throws BadReply for content that would be lost.
 */
export function readChoice(choice: RawChoice, empty: boolean): Piece {
  const { delta, message } = choice;
  const useMessage = message && (!delta || (empty && Object.keys(delta).length === 0));
  const from = (useMessage ? message : delta) ?? {};
  const content = from.content ?? choice.text;
  const text = typeof content === 'string' ? content : '';
  const parts = typeof content === 'string' ? NONE : readParts(content, 'text');
  return {
    text: text + parts.text + readText(from.refusal),
    reasoning: readThoughts(from) + parts.reasoning,
    calls: from.tool_calls ?? (from.function_call ? [{ function: from.function_call }] : undefined),
  };
}

/** The first of the names that has something: servers in transition send the same text under two of them. */
function readThoughts(from: RawMessage): string {
  const { reasoning_content: first, reasoning: second, thinking: third, reasoning_text: fourth } = from;
  const { text, reasoning } = readParts(first || second || third || fourth, 'reasoning');
  return text + reasoning;
}

type Texts = Omit<Piece, 'calls'>;

const NONE: Texts = { text: '', reasoning: '' };

/** Nesting of a content that is a list. */
const MAX_NESTING = 4;

/** Types of parts: Mistral's, OpenAI's, Anthropic's and OpenRouter's. */
const TEXT_PARTS: ReadonlySet<unknown> = new Set([undefined, null, 'text', 'output_text']);
const REASONING_PARTS: ReadonlySet<unknown> = new Set([
  'thinking',
  'reasoning',
  'reasoning_content',
  'reasoning_text',
  'reasoning.text',
  'reasoning.summary',
  'summary_text',
]);

/** Parts with nothing to read: encrypted thoughts, and Mistral's numbers of documents that no request here has. */
const SILENT_PARTS: ReadonlySet<unknown> = new Set(['redacted_thinking', 'reasoning.encrypted', 'reference']);

/** Reads content that may be a text, a part or a list of them. @throws BadReply for an unknown part. */
function readParts(content: unknown, kind: 'text' | 'reasoning', nesting = 0): Texts {
  if (content === undefined || content === null) return NONE;
  if (typeof content === 'string') return { ...NONE, [kind]: content };
  check(typeof content === 'object' && nesting < MAX_NESTING);
  if (Array.isArray(content)) {
    const parts = content.map((part) => readParts(part, kind, nesting + 1));
    return { text: joined(parts, 'text'), reasoning: joined(parts, 'reasoning') };
  }
  const { type, text, refusal, thinking, reasoning, summary, content: inner } = content as JsonObject;
  if (SILENT_PARTS.has(type)) return NONE;
  if (type === 'refusal') return { ...NONE, text: readText(refusal) };
  if (REASONING_PARTS.has(type)) {
    return readParts(thinking ?? reasoning ?? text ?? summary ?? inner, 'reasoning', nesting + 1);
  }
  if (!TEXT_PARTS.has(type))
    throw new BadReply(`sent content of a type that is not known here, ${shown(type)}`);
  check(text !== undefined);
  return { ...NONE, [kind]: readText(text) };
}

function joined(parts: readonly Texts[], kind: 'text' | 'reasoning'): string {
  return parts.map((part) => part[kind]).join('');
}

function readText(text: Json | undefined): string {
  if (text === undefined || text === null) return '';
  if (typeof text !== 'string') throw malformed();
  return text;
}

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
