import type { JsonObject } from '../../contract.js';
import { LMServError } from '../../errors.js';
import type { Chunk } from '../chunk.js';
import type { ReplyReader } from '../reply-reader.js';
import { newCallId } from '../tool-calls.js';
import type { ToolFunction } from './demand.js';

/** Max tokens of text before a call that was demanded: a model that has said more will hardly make one. */
const MAX_PREAMBLE = 256;

/** The reply has ended without the call that was demanded, or has not come to it in a long text. */
export class CallMissing extends Error {
  override readonly name = 'CallMissing';
}

/** Passes on the chunks of a reply in which a tool must be called. */
export class CallWatch {
  readonly #reader: ReplyReader;
  readonly #limit: number;
  #preamble = 0;

  /** @param maxTokens of the reply; half of them are left for the call. */
  constructor(reader: ReplyReader, maxTokens: number) {
    this.#reader = reader;
    this.#limit = Math.min(MAX_PREAMBLE, maxTokens / 2);
  }

  /** @throws CallMissing; LMServError `invalid_response` when max_tokens were used up before the call. */
  chunk(chunk: Chunk): void {
    const { delta, finish_reason: reason } = chunk.choices?.[0] ?? {};
    if (!this.#reader.calling && !delta?.tool_calls?.length) {
      if (delta?.content) this.#preamble += 1;
      if (reason === 'length') throw noRoom();
      if (reason || this.#preamble > this.#limit) throw new CallMissing();
    }
    this.#reader.chunk(chunk);
  }
}

/**
 * Passes on the chunks of a reply in which a tool may be called. Its text is held back until there is a call, because
 * without one it must have another form.
 */
export class CallOrSchema {
  readonly #reader: ReplyReader;
  readonly #held: Chunk[] = [];

  constructor(reader: ReplyReader) {
    this.#reader = reader;
  }

  /** @throws CallMissing */
  chunk(chunk: Chunk): void {
    const { delta, finish_reason: reason } = chunk.choices?.[0] ?? {};
    if (this.#reader.calling) return this.#reader.chunk(chunk);
    if (delta?.tool_calls?.length) {
      for (const held of [...this.#held.splice(0), chunk]) this.#reader.chunk(held);
    } else if (reason || this.#held.length === MAX_PREAMBLE) throw new CallMissing();
    else if (delta?.content) this.#held.push(chunk);
    else this.#reader.chunk(chunk);
  }
}

/** The reply has no room for the call that was demanded. */
export function noRoom(): LMServError {
  return new LMServError('invalid_response', 'max_tokens were used up before the model called a tool');
}

/** The beginning of a forced call, to which the model writes the name. */
export const NAME_PREFIX = '<tool_call>{"name": ';

/** The beginning of a forced call, to which the model writes the arguments. */
export const argumentsPrefix = (name: string): string =>
  `${NAME_PREFIX}${JSON.stringify(name)}, "arguments": `;

export const namesSchema = (tools: readonly ToolFunction[]): JsonObject => ({
  enum: tools.map(({ name }) => name),
});

/** Passes on chunks of raw text, which is the arguments of a call or the rest of them, as that call. */
export class ArgumentsReader {
  readonly #reader: ReplyReader;
  readonly #name: string;

  /** @param name of the call, if it has not begun yet. */
  constructor(reader: ReplyReader, name: string) {
    this.#reader = reader;
    this.#name = name;
  }

  chunk(chunk: Chunk): void {
    const { choices, ...others } = chunk;
    const { text, finish_reason: reason } = choices?.[0] ?? {};
    if (text && this.#reader.calling) this.#reader.addArguments(text);
    else if (text) {
      const call = { index: 0, id: newCallId(), name: this.#name, arguments: text };
      this.#reader.event({ type: 'tool_call', index: 0, call });
    }
    if (reason)
      this.#reader.event({ type: 'finish', index: 0, reason: reason === 'length' ? 'length' : 'tool_calls' });
    this.#reader.chunk(others);
  }
}
