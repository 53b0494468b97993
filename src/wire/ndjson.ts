import { splitLines, type ByteSource } from './lines.js';

/** One line of newline-delimited JSON. */
export function encodeNdjson(value: unknown): string {
  return `${JSON.stringify(value)}\n`;
}

/**
 * Yields each line's value; empty lines are skipped.
 *
 * @throws SyntaxError for a line that is not JSON.
 */
export async function* decodeNdjson(source: ByteSource): AsyncGenerator<unknown> {
  for await (const line of splitLines(source)) {
    if (line.trim() !== '') yield JSON.parse(line);
  }
}
