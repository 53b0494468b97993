/** Server-sent events as OpenAI's servers use them: only `data:` fields matter, comments are pings. */

import { splitLines, type ByteSource } from './lines.js';

/** The payload that ends an OpenAI stream. */
export const DONE = '[DONE]';

/** Comment line that keeps a connection alive; every SSE parser drops it. */
export const PING = ': ping\n\n';

/** Encodes one event; `data` must have no line break of its own, which JSON never has. */
export function encodeSse(data: string): string {
  return `data: ${data}\n\n`;
}

/**
 * Yields the payload of each event, `[DONE]` included, as soon as its blank line has come. An event cut off by the
 * end of the stream is not yielded: a cut must look like one.
 *
 * @throws RangeError when one line exceeds the limit of `splitLines`.
 */
export async function* decodeSse(source: ByteSource): AsyncGenerator<string> {
  let data: string | undefined;
  for await (const line of splitLines(source)) {
    if (line === '') {
      if (data !== undefined) yield data;
      data = undefined;
    } else if (line.startsWith('data:')) {
      const value = line.slice(line.charCodeAt(5) === 0x20 ? 6 : 5);
      data = data === undefined ? value : `${data}\n${value}`;
    }
  }
}
