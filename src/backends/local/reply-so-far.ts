import type { GenerateRequest, JsonObject } from '../../contract.js';
import { hasImage } from '../../wire/images.js';
import type { ReplyReader } from '../reply-reader.js';

/** Fields that prevent a seamless resume, because the form of the reply depends on its beginning. */
const BOUND = ['tools', 'response_format', 'json_schema', 'grammar', 'logprobs'] as const;

/**
 * The part of a reply that has been passed on, so that another worker can resume it. Pure.
 *
 * The text so far becomes the assistant's turn (or the end of a raw prompt) and the model continues it.
 */
export class ReplySoFar {
  /** May be replaced until a token has been passed on. */
  request: GenerateRequest;
  readonly #reader: ReplyReader;
  /** Tokens of earlier attempts. */
  #carried = 0;

  constructor(request: GenerateRequest, reader: ReplyReader) {
    this.request = request;
    this.#reader = reader;
  }

  /** A token has been passed on. */
  get begun(): boolean {
    return this.#reader.begun;
  }

  /** The finish reason has been passed on: the text is complete. */
  get finished(): boolean {
    return this.#reader.finished;
  }

  /** Tokens passed on. */
  get tokens(): number {
    return this.#reader.tokens;
  }

  /** Tokens passed on by earlier attempts. */
  get carried(): number {
    return this.#carried;
  }

  /** Whether another worker can resume it. */
  get resumable(): boolean {
    const { body } = this.request;
    // The arguments of a call would begin again, also where the tools became text of the conversation.
    if (this.request.resume === false || this.#reader.calling) return false;
    if (BOUND.some((field) => body[field] !== undefined && body[field] !== false)) return false;
    return this.request.kind === 'chat' || typeof body.prompt === 'string';
  }

  /** It has a limit of tokens. */
  get limited(): boolean {
    return Number.isFinite(this.#tokensLeft());
  }

  /** All requested tokens have been passed on; only the finish reason has not. */
  get full(): boolean {
    return this.#tokensLeft() <= 0;
  }

  /** The text passed on. */
  get text(): string {
    return this.#reader.pieces.join('');
  }

  /** The text in the pieces that arrived, usually one token each. */
  get pieces(): readonly string[] {
    return this.#reader.pieces;
  }

  /** The reply is only text, without reasoning, and the request has no images. */
  get isTextOnly(): boolean {
    return this.#reader.reasoning === '' && !hasImage(this.request.body);
  }

  /**
   * Corrects the count of tokens: one event may carry several, such as text that was held back because it might have
   * become a stop string. There are never more than were requested, however the text is tokenized.
   */
  recount(tokens: number): void {
    const max = this.request.body.max_tokens;
    this.#reader.recount(typeof max === 'number' ? Math.min(tokens, max) : tokens);
  }

  /** Corrects the count by an estimate that may be slightly too high, so it always leaves one token. */
  estimate(tokens: number): void {
    const max = this.request.body.max_tokens;
    this.recount(typeof max === 'number' ? Math.min(tokens, max - 1) : tokens);
  }

  /** The request that continues the reply; the original request while nothing has been passed on. */
  next(): GenerateRequest {
    if (!this.begun) return this.request;
    this.#carried = this.tokens;
    const { kind, body } = this.request;
    const continued =
      kind === 'raw' ? { prompt: (body.prompt as string) + this.text } : { messages: this.#messages() };
    return { ...this.request, body: { ...body, ...continued, max_tokens: this.#tokensLeft() } };
  }

  #tokensLeft(): number {
    const max = this.request.body.max_tokens;
    return typeof max === 'number' ? max - this.tokens : Infinity;
  }

  /** The conversation with the assistant's turn so far; a turn that the client began is continued. */
  #messages(): JsonObject[] {
    const messages = this.request.body.messages as JsonObject[];
    const last = messages.at(-1);
    const begunByClient = last?.role === 'assistant' && last.tool_calls === undefined;
    const before = begunByClient ? contentText(last.content) : '';
    const turn: JsonObject = { role: 'assistant', content: before + this.text };
    if (this.#reader.reasoning !== '') turn.reasoning_content = this.#reader.reasoning;
    return [...(begunByClient ? messages.slice(0, -1) : messages), turn];
  }
}

/** The text of a content that is a string or a list of parts. */
export function contentText(content: unknown): string {
  if (typeof content === 'string') return content;
  return Array.isArray(content)
    ? (content as { text?: string }[]).map((part) => part.text ?? '').join('')
    : '';
}
