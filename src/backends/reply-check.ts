import type { GenerateEvent, JsonObject, TokenLogprob, Usage } from '../contract.js';
import { estimatePromptTokens } from './prompt-estimate.js';

/** Characters of a whole reply: text, reasoning and calls. No model writes as much in one reply. */
const MAX_REPLY = 16 * 1024 * 1024;

/**
 * Events for each token that was requested, and those that any reply may have: some servers send single characters, some
 * do not count reasoning. A server that ignores `max_tokens` would otherwise go on for ever.
 */
const EVENTS_A_TOKEN = 16;
const FREE_EVENTS = 65_536;

/** Tool calls of a reply. */
const MAX_CALLS = 128;

/** Characters of a call's id or name; some gateways put a model's signed thoughts into the id. */
const MAX_LABEL = 16 * 1024;

/** Alternatives to one token. */
const MAX_ALTERNATIVES = 100;

/** A reply is not of the form that was agreed on, or larger than any sane one; the message says which. */
export class BadReply extends Error {
  override readonly name = 'BadReply';
}

/**
 * Checks the events of a reply that is not made by LMServ itself, of one choice: their form and order, how much they
 * are, and that log probabilities were requested. Usage is kept for the end, because some servers send it with every
 * chunk. Pure.
 */
export class ReplyCheck {
  readonly #body: JsonObject;
  readonly #calls = new Map<number, number>();
  #usage: Usage | undefined;
  #promptTokens: number | undefined;
  #tokens = 0;
  #size = 0;
  #finished = false;

  /** @param body the request's. */
  constructor(body: JsonObject) {
    this.#body = body;
  }

  /** The first token, or the end of an empty reply, has come. */
  get begun(): boolean {
    return this.#tokens > 0 || this.#finished;
  }

  /** The finish reason has come: the reply is whole, whatever happens next. */
  get finished(): boolean {
    return this.#finished;
  }

  /**
   * The events to hand on for one that has come: mostly itself, and none once the reply is finished. A reply whose
   * prompt nobody has counted begins with an estimate, so that it is paid for even if its client leaves before the usage.
   *
   * @throws BadReply
   */
  take(event: GenerateEvent): GenerateEvent[] {
    if (!isWellFormed(event)) throw new BadReply('sent something that is not part of a reply');
    if (event.type === 'usage') {
      this.#usage = event.usage;
      return [];
    }
    if (this.#finished) return [];
    if (event.type === 'prefill') {
      this.#promptTokens = event.promptTokens;
      return [event];
    }
    if (event.type === 'finish') this.#finished = true;
    else this.#tokens += 1;
    this.#count(event);
    const cleaned = this.#cleaned(event);
    return this.#promptTokens === undefined ? [this.#estimate(), cleaned] : [cleaned];
  }

  /** The last event: the usage that came, else tokens counted as events, and the prompt's as its estimate. */
  usage(): GenerateEvent {
    const promptTokens = this.#promptTokens ?? estimatePromptTokens(this.#body);
    const counted = { promptTokens, completionTokens: this.#tokens, cachedTokens: 0 };
    return { type: 'usage', usage: this.#usage ?? counted };
  }

  #estimate(): GenerateEvent {
    this.#promptTokens = this.#usage?.promptTokens || estimatePromptTokens(this.#body);
    return { type: 'prefill', promptTokens: this.#promptTokens };
  }

  #count(event: ReplyEvent): void {
    this.#size += sizeOf(event);
    if (this.#size > MAX_REPLY) throw new BadReply('sent a reply of more than 16 Mi characters');
    const { max_tokens: limit } = this.#body;
    if (typeof limit === 'number' && this.#tokens > limit * EVENTS_A_TOKEN + FREE_EVENTS)
      throw new BadReply('sent far more tokens than max_tokens');
  }

  #cleaned(event: ReplyEvent): GenerateEvent {
    switch (event.type) {
      case 'text': {
        const { text, logprobs } = event;
        if (logprobs === undefined && event.index === 0) return event;
        return logprobs && this.#wantsLogprobs()
          ? { type: 'text', index: 0, text, logprobs }
          : { type: 'text', index: 0, text };
      }
      case 'tool_call':
        return {
          type: 'tool_call',
          index: 0,
          call: { ...event.call, index: this.#callNumber(event.call.index) },
        };
      default:
        return { ...event, index: 0 };
    }
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

  /** A chat sets `logprobs` to true, a raw prompt to the number of alternatives, which may be 0. */
  #wantsLogprobs(): boolean {
    const { logprobs } = this.#body;
    return logprobs !== undefined && logprobs !== null && logprobs !== false;
  }
}

type ReplyEvent = Exclude<GenerateEvent, { type: 'usage' | 'prefill' }>;

function sizeOf(event: ReplyEvent): number {
  if (event.type === 'finish') return 0;
  if (event.type !== 'tool_call') return event.text.length;
  const { id = '', name = '', arguments: text = '' } = event.call;
  return id.length + name.length + text.length;
}

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;

function isWellFormed(event: GenerateEvent): boolean {
  switch (event?.type) {
    case 'text':
      return typeof event.text === 'string' && (event.logprobs === undefined || areLogprobs(event.logprobs));
    case 'reasoning':
      return typeof event.text === 'string';
    case 'tool_call': {
      const { index, id, name, arguments: text } = event.call ?? {};
      return (
        isCount(index) && isLabel(id) && isLabel(name) && (text === undefined || typeof text === 'string')
      );
    }
    case 'prefill':
      return isCount(event.promptTokens);
    case 'usage': {
      const { promptTokens, completionTokens, cachedTokens } = event.usage ?? {};
      return [promptTokens, completionTokens, cachedTokens].every(isCount);
    }
    case 'finish':
      return FINISH_REASONS.has(event.reason);
    default:
      return false;
  }
}

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
  // JSON has no -Infinity; some servers send null in its place.
  return typeof token === 'string' && (typeof logprob === 'number' || logprob === null);
}
