import type { IncomingMessage } from 'node:http';
import type { ReplyFormat } from './job.js';

/** Counts tokens in a reply as it arrives, with as little work as possible: the load client shares the machine. */
export interface TokenCounter {
  /** @returns how many tokens the chunk completes. */
  count(chunk: Buffer): number;
  /** Whether the reply, which has ended, ended by reaching its number of tokens. */
  isWhole(response: IncomingMessage): boolean;
}

export function tokenCounter(format: ReplyFormat): TokenCounter {
  return format === 'sse' ? new EventCounter() : new ChunkCounter();
}

const TOKEN = '"delta":{"content":"';
const REACHED_LENGTH = '"finish_reason":"length"';
/** One less than the longest mark: what may be the beginning of one at the end of a chunk. */
const CARRY = REACHED_LENGTH.length - 1;

/** Looks for the marks of OpenAI's events, also where a chunk ends in the middle of one; parses nothing. */
class EventCounter implements TokenCounter {
  #carry = '';
  #whole = false;

  count(chunk: Buffer): number {
    const text = this.#carry + chunk.toString('latin1');
    const before = occurrences(this.#carry, TOKEN);
    this.#whole ||= text.includes(REACHED_LENGTH);
    this.#carry = text.slice(-CARRY);
    return occurrences(text, TOKEN) - before;
  }

  isWhole(): boolean {
    return this.#whole;
  }
}

function occurrences(text: string, mark: string): number {
  let count = 0;
  for (let at = text.indexOf(mark); at !== -1; at = text.indexOf(mark, at + mark.length)) count += 1;
  return count;
}

/** Node's parser hands over each chunk of HTTP by itself. */
class ChunkCounter implements TokenCounter {
  count(): number {
    return 1;
  }

  isWhole(response: IncomingMessage): boolean {
    return response.trailers['x-finish-reason'] === 'length';
  }
}
