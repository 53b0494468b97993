import { randomUUID } from 'node:crypto';
import type {
  FinishReason,
  Json,
  JsonObject,
  ReplyEvent,
  Sink,
  TokenLogprob,
  ToolCallDelta,
  Usage,
} from '../contract.js';
import { estimatePromptTokens } from './prompt-estimate.js';

/** Max characters of a whole reply: text, reasoning and calls. No model writes that much in one reply. */
const MAX_REPLY = 16 * 1024 * 1024;

/**
 * Max events per requested token, plus an allowance for any reply: some servers send single characters, some do not count
 * reasoning. A server that ignores `max_tokens` might otherwise never end.
 */
const EVENTS_A_TOKEN = 16;
const FREE_EVENTS = 65_536;

/** Max tool calls of a reply. */
const MAX_CALLS = 128;

/** Max characters of a call's id or name; some gateways put a model's signed thoughts into the id. */
const MAX_LABEL = 16 * 1024;

/** Max alternatives to one token. */
const MAX_ALTERNATIVES = 100;

/** Max empty chunks in a row; some servers keep a connection alive with a few. */
const MAX_EMPTY = 10_000;

/** A reply does not have the agreed form, or is larger than any sane one; the message says which. */
export class BadReply extends Error {
  override readonly name = 'BadReply';
}

/**
 * Reads one reply of one choice from a worker, a remote server or a custom backend, and passes its events on. It trusts
 * nothing: form and order are checked, sizes are bounded, and unrequested log probabilities are dropped. It
 * remembers what it passed on, so that another worker can resume the reply.
 */
export class ReplyReader implements Sink<ReplyEvent> {
  readonly #body: JsonObject;
  readonly #sink: Sink<ReplyEvent>;
  readonly #onBegun: () => void;
  readonly #keepsText: boolean;
  readonly #wantsLogprobs: boolean;
  readonly #maxEvents: number;
  readonly #calls = new Map<number, number>();
  #usage: Usage | undefined;
  #promptTokens: number | undefined;
  #finished = false;
  #tokens = 0;
  #size = 0;
  #empty = 0;
  /** Texts in the order they arrived, usually one per token. */
  readonly pieces: string[] = [];
  reasoning = '';

  /**
   * @param body the request's.
   * @param onBegun called once, after the first token or the finish of an empty reply has been passed on.
   * @param keepsText false for a backend that cannot resume: `pieces` and `reasoning` stay empty.
   */
  constructor(body: JsonObject, sink: Sink<ReplyEvent>, onBegun: () => void, keepsText = true) {
    this.#keepsText = keepsText;
    this.#body = body;
    this.#sink = sink;
    this.#onBegun = onBegun;
    const { logprobs, max_tokens: max } = body;
    this.#maxEvents = typeof max === 'number' ? max * EVENTS_A_TOKEN + FREE_EVENTS : Infinity;
    // A chat sets `logprobs` to true, a raw prompt to the number of alternatives, which may be 0.
    this.#wantsLogprobs = logprobs !== undefined && logprobs !== null && logprobs !== false;
  }

  /** The first token, or the finish of an empty reply, has been passed on. */
  get begun(): boolean {
    return this.#tokens > 0 || this.#finished;
  }

  /** The finish reason has been passed on: the reply is complete, whatever happens next. */
  get finished(): boolean {
    return this.#finished;
  }

  /** A call of a tool has been passed on. */
  get calling(): boolean {
    return this.#calls.size > 0;
  }

  /** Tokens passed on. */
  get tokens(): number {
    return this.#tokens;
  }

  /** Undefined until the backend reports it or the first token arrives. */
  get promptTokens(): number | undefined {
    return this.#promptTokens;
  }

  /** Corrects the count of tokens upwards: one event may carry several. */
  recount(tokens: number): void {
    this.#tokens = Math.max(this.#tokens, tokens);
  }

  /** Reads a chunk of OpenAI's `/v1/chat/completions` or `/v1/completions`. @throws BadReply */
  chunk(chunk: Chunk): void {
    const before = this.#tokens;
    const { prompt_progress: progress, choices, usage } = chunk;
    if (progress) this.#prefill(progress.total);
    const choice = choices?.[0];
    if (choice) this.#choice(choice);
    if (usage) this.#noteUsage(readUsage(usage));
    this.#empty = this.#tokens === before && !progress ? this.#empty + 1 : 0;
    if (this.#empty > MAX_EMPTY) throw new BadReply(`sent ${MAX_EMPTY} events in a row without content`);
  }

  /** @throws BadReply */
  event(event: ReplyEvent): void {
    switch (event?.type) {
      case 'text':
        return this.#text(event.text, event.logprobs);
      case 'reasoning':
        return this.#reasoning(event.text);
      case 'tool_call':
        return this.#toolCall(event.call);
      case 'finish':
        return this.#finish(event.reason);
      case 'prefill':
        return this.#prefill(event.promptTokens);
      case 'usage':
        return this.#noteUsage(event.usage);
      default:
        throw malformed();
    }
  }

  /** @throws BadReply when the reply has ended without a finish reason. */
  checkFinished(): void {
    if (!this.#finished) throw new BadReply('ended its reply before it was finished');
  }

  /**
   * The reply has ended: passes on its usage, or an estimate if the backend sent none.
   *
   * @param carried tokens that other workers had passed on before this attempt.
   */
  end(carried = 0): void {
    this.#sink.event({ type: 'usage', usage: this.#totalUsage(carried) });
  }

  #choice(choice: RawChoice): void {
    const { delta, finish_reason: reason } = choice;
    const text = delta?.content ?? choice.text;
    const logprobs = choice.logprobs?.content ?? undefined;
    if (text || logprobs) this.#text(text ?? '', logprobs);
    const reasoning = delta?.reasoning_content ?? delta?.reasoning;
    if (reasoning) this.#reasoning(reasoning);
    const calls = delta?.tool_calls;
    check(!calls || (Array.isArray(calls) && calls.length <= MAX_CALLS));
    for (const call of calls ?? []) this.#toolCall(readToolCall(call));
    if (reason) this.#finish(readReason(reason));
  }

  #prefill(promptTokens: number): void {
    check(isCount(promptTokens));
    if (this.#promptTokens !== undefined || this.#finished) return;
    this.#promptTokens = promptTokens;
    this.#sink.event({ type: 'prefill', promptTokens });
  }

  #text(text: string, logprobs: TokenLogprob[] | undefined): void {
    check(typeof text === 'string' && (logprobs === undefined || areLogprobs(logprobs)));
    if (!this.#accept(text.length)) return;
    if (this.#keepsText) this.pieces.push(text);
    if (logprobs && this.#wantsLogprobs) this.#pass({ type: 'text', index: 0, text, logprobs });
    else this.#pass({ type: 'text', index: 0, text });
  }

  #reasoning(text: string): void {
    check(typeof text === 'string');
    if (!this.#accept(text.length)) return;
    if (this.#keepsText) this.reasoning += text;
    this.#pass({ type: 'reasoning', index: 0, text });
  }

  #toolCall(call: ToolCallDelta): void {
    const { index, id, name, arguments: fragment } = call ?? {};
    check(isCount(index) && isLabel(id) && isLabel(name));
    check(fragment === undefined || typeof fragment === 'string');
    if (!this.#accept((id?.length ?? 0) + (name?.length ?? 0) + (fragment?.length ?? 0))) return;
    this.#pass({ type: 'tool_call', index: 0, call: { ...call, index: this.#callNumber(index) } });
  }

  #finish(reason: FinishReason): void {
    check(FINISH_REASONS.has(reason));
    if (!this.#accept(0)) return;
    const first = !this.begun;
    this.#finished = true;
    this.#sink.event({ type: 'finish', index: 0, reason });
    if (first) this.#onBegun();
  }

  #noteUsage(usage: Usage): void {
    check([usage?.promptTokens, usage?.completionTokens, usage?.cachedTokens].every(isCount));
    this.#usage = usage;
  }

  #pass(event: ReplyEvent): void {
    this.#tokens += 1;
    if (this.#tokens > this.#maxEvents) throw new BadReply('sent far more tokens than max_tokens');
    this.#sink.event(event);
    if (this.#tokens === 1) this.#onBegun();
  }

  /**
   * Whether content still belongs to the reply, which it does not after the finish. If the backend has not counted the
   * prompt, the reply begins with an estimate, so that it is charged even if the client leaves before the usage.
   */
  #accept(size: number): boolean {
    if (this.#finished) return false;
    this.#size += size;
    if (this.#size > MAX_REPLY) throw new BadReply('sent a reply of more than 16 Mi characters');
    if (this.#promptTokens === undefined)
      this.#prefill(this.#usage?.promptTokens || estimatePromptTokens(this.#body));
    return true;
  }

  /** Calls are numbered as they appear: 0, 1, 2. */
  #callNumber(index: number): number {
    const known = this.#calls.get(index);
    if (known !== undefined) return known;
    const number = this.#calls.size;
    if (number === MAX_CALLS) throw new BadReply(`made more than ${MAX_CALLS} tool calls`);
    this.#calls.set(index, number);
    return number;
  }

  /** Usage of the client's prompt and of the whole completion, whichever workers generated it. */
  #totalUsage(carried: number): Usage {
    const promptTokens = this.#promptTokens ?? 0;
    const usage = this.#usage;
    if (!usage) return { promptTokens, completionTokens: this.#tokens, cachedTokens: 0 };
    if (carried === 0) return usage;
    return {
      promptTokens,
      completionTokens: carried + usage.completionTokens,
      cachedTokens: Math.min(usage.cachedTokens, promptTokens),
    };
  }
}

/** A chunk as servers send it; only the fields read here. */
export interface Chunk {
  readonly prompt_progress?: { readonly total: number } | null;
  readonly choices?: readonly RawChoice[] | null;
  readonly usage?: RawUsage | null;
}

interface RawChoice {
  readonly delta?: {
    readonly content?: string | null;
    readonly reasoning_content?: string | null;
    readonly reasoning?: string | null;
    readonly tool_calls?: readonly RawToolCall[] | null;
  } | null;
  readonly text?: string;
  readonly logprobs?: { readonly content?: JsonObject[] | null } | null;
  readonly finish_reason?: string | null;
}

interface RawToolCall {
  readonly index?: number;
  readonly id?: string;
  readonly function?: { readonly name?: string | null; readonly arguments?: Json };
}

interface RawUsage {
  readonly prompt_tokens?: number;
  readonly completion_tokens?: number;
  readonly prompt_tokens_details?: { readonly cached_tokens?: number } | null;
}

function readToolCall(raw: RawToolCall): ToolCallDelta {
  const { name, arguments: fragment } = raw?.function ?? {};
  // Some templates' parsers give a call no id, and clients need one to answer it.
  const id = raw?.id || (name ? `call_${randomUUID().replaceAll('-', '')}` : undefined);
  return {
    index: raw?.index ?? 0,
    ...(id ? { id } : {}),
    ...(name ? { name } : {}),
    ...(typeof fragment === 'string' ? { arguments: fragment } : {}),
  };
}

function readReason(reason: string): FinishReason {
  if (reason === 'length' || reason === 'tool_calls' || reason === 'content_filter') return reason;
  // Older servers say function_call; any other regular end is a stop.
  return reason === 'function_call' ? 'tool_calls' : 'stop';
}

function readUsage(raw: RawUsage): Usage {
  return {
    promptTokens: raw.prompt_tokens ?? 0,
    completionTokens: raw.completion_tokens ?? 0,
    cachedTokens: raw.prompt_tokens_details?.cached_tokens ?? 0,
  };
}

function malformed(): BadReply {
  return new BadReply('sent something that is not part of a reply');
}

function check(wellFormed: boolean): void {
  if (!wellFormed) throw malformed();
}

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;

const FINISH_REASONS: ReadonlySet<unknown> = new Set(['stop', 'length', 'tool_calls', 'content_filter']);

function isLabel(value: unknown): boolean {
  return value === undefined || (typeof value === 'string' && value.length <= MAX_LABEL);
}

function areLogprobs(values: unknown): boolean {
  return (
    Array.isArray(values) && values.every((value) => isLogprob(value) && areAlternatives(value.top_logprobs))
  );
}

function areAlternatives(values: unknown): boolean {
  if (values === undefined || values === null) return true;
  return Array.isArray(values) && values.length <= MAX_ALTERNATIVES && values.every(isLogprob);
}

function isLogprob(value: unknown): value is TokenLogprob {
  const { token, logprob } = (value ?? {}) as TokenLogprob;
  return typeof token === 'string' && typeof logprob === 'number';
}
