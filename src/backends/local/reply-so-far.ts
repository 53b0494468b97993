import type { GenerateEvent, GenerateRequest, JsonObject, Usage } from '../../contract.js';

/** Fields with which a reply cannot be gone on with as if nothing had happened: its form is bound to its beginning. */
const BOUND = ['tools', 'response_format', 'grammar', 'logprobs'] as const;

/**
 * What of a reply has been handed on, so that another worker can go on with it. Pure.
 *
 * The text so far becomes the assistant's turn (or the end of a raw prompt) and the model continues it.
 */
export class ReplySoFar {
  /** A token has been handed on. */
  begun = false;
  /** The finish reason has been handed on: the text is whole. */
  finished = false;
  readonly #pieces: string[] = [];
  #reasoning = '';
  #tokens = 0;
  #promptTokens: number | undefined;
  /** Tokens of the attempts before this one. */
  #carried = 0;

  constructor(readonly request: GenerateRequest) {}

  /** Tokens handed on. */
  get tokens(): number {
    return this.#tokens;
  }

  /** Whether another worker can go on with it. */
  get resumable(): boolean {
    const { body } = this.request;
    if (this.request.resume === false) return false;
    if (BOUND.some((field) => body[field] !== undefined && body[field] !== false)) return false;
    return this.request.kind === 'chat' || typeof body.prompt === 'string';
  }

  /** All tokens that were asked for have been handed on; only the finish reason has not. */
  get full(): boolean {
    return this.#tokensLeft() <= 0;
  }

  /** What has been handed on of the answer. */
  get text(): string {
    return this.#pieces.join('');
  }

  /** The same as it came, mostly a token each. */
  get pieces(): readonly string[] {
    return this.#pieces;
  }

  /** It is nothing but text: no reasoning before it, and no images in what was asked. */
  get isTextOnly(): boolean {
    return this.#reasoning === '' && !hasImage(this.request.body);
  }

  /**
   * Corrects the count of tokens: one event may bring several, such as text that was held back because it could have
   * become a stop string.
   */
  recount(tokens: number): void {
    this.#tokens = Math.max(this.#tokens, tokens);
  }

  /** Corrects the count by one that may be a little too high: it does not take the last token away. */
  estimate(tokens: number): void {
    const most = this.request.body.max_tokens;
    this.recount(typeof most === 'number' ? Math.min(tokens, most - 1) : tokens);
  }

  /** Takes note of an event; returns it as the client is to see it, or undefined when it saw its like before. */
  note(event: GenerateEvent): GenerateEvent | undefined {
    switch (event.type) {
      case 'prefill':
        if (this.#promptTokens !== undefined) return undefined;
        this.#promptTokens = event.promptTokens;
        return event;
      case 'usage':
        return { type: 'usage', usage: this.#whole(event.usage) };
      case 'finish':
        this.finished = true;
        return event;
      case 'text':
        this.#pieces.push(event.text);
        break;
      case 'reasoning':
        this.#reasoning += event.text;
        break;
      case 'tool_call':
    }
    this.begun = true;
    this.#tokens += 1;
    return event;
  }

  /** The request that goes on where this one stopped; the request itself while nothing has been handed on. */
  next(): GenerateRequest {
    if (!this.begun) return this.request;
    this.#carried = this.#tokens;
    const { kind, body } = this.request;
    const said =
      kind === 'raw' ? { prompt: (body.prompt as string) + this.text } : { messages: this.#messages() };
    return { ...this.request, body: { ...body, ...said, max_tokens: this.#tokensLeft() } };
  }

  /** The usage as counted here, for a reply that was whole before its usage came. */
  usage(): Usage {
    return { promptTokens: this.#promptTokens ?? 0, completionTokens: this.#tokens, cachedTokens: 0 };
  }

  #tokensLeft(): number {
    const most = this.request.body.max_tokens;
    return typeof most === 'number' ? most - this.#tokens : Infinity;
  }

  /** The conversation with the assistant's turn as far as it has come; one that the client began is gone on with. */
  #messages(): JsonObject[] {
    const messages = this.request.body.messages as JsonObject[];
    const last = messages.at(-1);
    const begunByClient = last?.role === 'assistant' && last.tool_calls === undefined;
    const before = begunByClient ? contentText(last.content) : '';
    const turn: JsonObject = { role: 'assistant', content: before + this.text };
    if (this.#reasoning !== '') turn.reasoning_content = this.#reasoning;
    return [...(begunByClient ? messages.slice(0, -1) : messages), turn];
  }

  /** The prompt is what the client sent, the completion all it got, whichever worker it came from. */
  #whole(usage: Usage): Usage {
    if (this.#carried === 0) return usage;
    return {
      promptTokens: this.#promptTokens ?? usage.promptTokens,
      completionTokens: this.#carried + usage.completionTokens,
      cachedTokens: Math.min(usage.cachedTokens, this.#promptTokens ?? 0),
    };
  }
}

/** Whether a message carries an image. */
export function hasImage(body: JsonObject): boolean {
  const messages = (body.messages ?? []) as { content?: unknown }[];
  return messages.some(
    ({ content }) =>
      Array.isArray(content) && content.some((part) => (part as { type?: string }).type === 'image_url'),
  );
}

/** A content's text, given whole or in parts. */
function contentText(content: unknown): string {
  if (typeof content === 'string') return content;
  return Array.isArray(content)
    ? (content as { text?: string }[]).map((part) => part.text ?? '').join('')
    : '';
}
