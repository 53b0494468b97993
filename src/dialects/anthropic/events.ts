import type { ReplyEvent, ToolCallDelta, Usage } from '../../contract.js';
import type { LMServError } from '../../errors.js';
import type { ReplyInfo, StreamEncoder } from '../shared/dialect.js';
import { anthropicError } from './errors.js';
import { messageObject, stopFields, toolUse, usageObject, type Finish } from './reply.js';
import { signatureOf } from './thinking.js';

type Kind = 'text' | 'thinking' | 'tool_use';

/** The block that is being sent. */
interface OpenBlock {
  readonly kind: Kind;
  readonly index: number;
  /** Of a tool's call: its number. */
  readonly call?: number | undefined;
  /** Of thinking that the client does not want to see: its text. */
  omitted: string;
}

/** A reply as Anthropic's events: a message of blocks, one after the other. */
export class MessageEvents implements StreamEncoder {
  readonly contentType = 'text/event-stream; charset=utf-8';
  readonly ping = encode('ping');
  readonly #info: ReplyInfo;
  readonly #omitsThinking: boolean;
  #started = false;
  #blocks = 0;
  #open: OpenBlock | undefined;
  /** The index of the block of each call. */
  readonly #calls = new Map<number, number>();
  #finish: Finish = { reason: 'stop' };
  #usage: Usage = { promptTokens: 0, completionTokens: 0, cachedTokens: 0 };

  constructor(info: ReplyInfo, omitsThinking: boolean) {
    this.#info = info;
    this.#omitsThinking = omitsThinking;
  }

  event(event: ReplyEvent): string {
    switch (event.type) {
      case 'prefill':
        this.#usage = { ...this.#usage, promptTokens: event.promptTokens };
        return '';
      case 'text':
        return event.text === '' ? '' : this.#text(event.text);
      case 'reasoning':
        return event.text === '' ? '' : this.#thinking(event.text);
      case 'tool_call':
        return this.#call(event.call);
      case 'finish':
        this.#finish = event;
        return this.#start() + this.#close();
      case 'usage':
        this.#usage = event.usage;
        return '';
    }
  }

  end(): string {
    const delta = { delta: stopFields(this.#finish), usage: usageObject(this.#usage) };
    return encode('message_delta', delta) + encode('message_stop');
  }

  error(error: LMServError): string {
    const { type, ...fields } = anthropicError(error, this.#info.requestId);
    return encode(type, fields);
  }

  #text(text: string): string {
    const opened = this.#openBlock('text', { type: 'text', text: '', citations: null });
    return opened + this.#delta({ type: 'text_delta', text });
  }

  #thinking(text: string): string {
    const opened = this.#openBlock('thinking', { type: 'thinking', thinking: '', signature: '' });
    if (!this.#omitsThinking) return opened + this.#delta({ type: 'thinking_delta', thinking: text });
    this.#open!.omitted += text;
    return opened;
  }

  #call({ index: call, id, name, arguments: json = '' }: ToolCallDelta): string {
    const known = this.#calls.get(call);
    const opened = known === undefined ? this.#openBlock('tool_use', toolUse(id, name), call) : '';
    if (known === undefined) this.#calls.set(call, this.#open!.index);
    // A fragment of an earlier call still belongs to that one's block.
    return json === ''
      ? opened
      : opened + this.#delta({ type: 'input_json_delta', partial_json: json }, known);
  }

  #start(): string {
    if (this.#started) return '';
    this.#started = true;
    return encode('message_start', { message: messageObject(this.#info, [], this.#usage) });
  }

  /** Begins a block, unless one of this kind, or of this call, is open. */
  #openBlock(kind: Kind, block: object, call?: number): string {
    if (this.#open?.kind === kind && this.#open.call === call) return '';
    const before = this.#start() + this.#close();
    this.#open = { kind, index: this.#blocks, call, omitted: '' };
    this.#blocks += 1;
    return before + encode('content_block_start', { index: this.#open.index, content_block: block });
  }

  #close(): string {
    if (!this.#open) return '';
    const { kind, index, omitted } = this.#open;
    const signature = signatureOf(omitted, this.#omitsThinking);
    const signed = kind === 'thinking' ? this.#delta({ type: 'signature_delta', signature }) : '';
    this.#open = undefined;
    return signed + encode('content_block_stop', { index });
  }

  #delta(delta: object, index = this.#open!.index): string {
    return encode('content_block_delta', { index, delta });
  }
}

/** One event; its type is in its data as well. */
function encode(type: string, fields: object = {}): string {
  return `event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`;
}
