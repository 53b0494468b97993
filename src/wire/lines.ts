/** What a stream of bytes can be read as: a Node stream, a web stream's async iterator, a test's array. */
export type ByteSource = AsyncIterable<Uint8Array | string>;

/** No sane event is longer; a peer that never sends a line break must not fill our memory. Characters. */
const MAX_LINE = 16 * 1024 * 1024;

/**
 * Splits a byte stream at line feeds, `\r\n` included, decoding UTF-8 across chunk borders. A last line without a
 * line feed is not yielded: it was cut.
 *
 * @throws RangeError when a line is longer than 16 Mi characters.
 */
export async function* splitLines(source: ByteSource): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of source) {
    rest += typeof chunk === 'string' ? chunk : decoder.decode(chunk, { stream: true });
    let start = 0;
    for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n', start)) {
      yield rest.slice(start, rest.charCodeAt(end - 1) === 0x0d && end > start ? end - 1 : end);
      start = end + 1;
    }
    rest = rest.slice(start);
    if (rest.length > MAX_LINE) throw new RangeError('a line of the stream is longer than 16 Mi characters');
  }
}
