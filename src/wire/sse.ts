/** Server-sent events as OpenAI's servers use them: only `data:` fields matter, comments are pings. */

import { LineSplitter, MAX_EVENT, StreamTooLong, type ByteSource } from './lines.js';

/** What a `data:` line counts for besides its characters, so that an event of countless empty lines ends too. */
const LINE_COST = 64;

/** The payload that ends an OpenAI stream. */
export const DONE = '[DONE]';

/** Comment line that keeps a connection alive; every SSE parser drops it. */
export const PING = ': ping\n\n';

/** Encodes one event; `data` must have no line break of its own, which JSON never has. */
export function encodeSse(data: string): string {
  return `data: ${data}\n\n`;
}

/**
 * Reads the payload of each event, `[DONE]` included, as soon as its blank line has come. An event cut off by the end
 * of the stream never comes out: a cut must look like one.
 */
export class SseDecoder {
  readonly #lines = new LineSplitter();
  #data: string[] = [];
  #size = 0;

  /**
   * Takes the next chunk and yields the payloads it completes.
   *
   * @throws StreamTooLong when a line or an event, each of its lines counted as 64 characters more, is longer than 1 Mi
   *   characters.
   */
  *push(chunk: Uint8Array | string): Generator<string> {
    for (const line of this.#lines.push(chunk)) {
      if (line !== '') this.#readField(line);
      else if (this.#data.length > 0) {
        const data = this.#data.length === 1 ? this.#data[0]! : this.#data.join('\n');
        this.#data = [];
        this.#size = 0;
        yield data;
      }
    }
  }

  #readField(line: string): void {
    if (!line.startsWith('data:')) return;
    const value = line.slice(line.charCodeAt(5) === 0x20 ? 6 : 5);
    if (this.#data.length > 0) this.#size += LINE_COST;
    this.#size += value.length;
    if (this.#size > MAX_EVENT) throw new StreamTooLong();
    this.#data.push(value);
  }
}

/** Yields each payload of a byte stream as `SseDecoder` reads it. @throws as `SseDecoder.push`. */
export async function* decodeSse(source: ByteSource): AsyncGenerator<string> {
  const events = new SseDecoder();
  for await (const chunk of source) for (const data of events.push(chunk)) yield data;
}
