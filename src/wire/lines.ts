/** What a stream of bytes can be read as: a Node stream, a web stream's async iterator, a test's array. */
export type ByteSource = AsyncIterable<Uint8Array | string>;

/** No sane event is longer; a peer that never sends a line break must not fill our memory. Characters. */
const MAX_LINE = 16 * 1024 * 1024;

/**
 * Cuts a byte stream at line feeds, `\r\n` included, decoding UTF-8 across chunk borders. A last line without a line
 * feed never comes out: it was cut.
 */
export class LineSplitter {
  readonly #decoder = new TextDecoder();
  #rest = '';

  /**
   * Takes the next chunk and yields the lines it ends.
   *
   * @throws RangeError when a line is longer than 16 Mi characters.
   */
  *push(chunk: Uint8Array | string): Generator<string> {
    const text =
      this.#rest + (typeof chunk === 'string' ? chunk : this.#decoder.decode(chunk, { stream: true }));
    let start = 0;
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', start)) {
      yield text.slice(start, text.charCodeAt(end - 1) === 0x0d && end > start ? end - 1 : end);
      start = end + 1;
    }
    this.#rest = text.slice(start);
    if (this.#rest.length > MAX_LINE)
      throw new RangeError('a line of the stream is longer than 16 Mi characters');
  }
}

/** Yields each line of a byte stream as `LineSplitter` cuts it. @throws as `LineSplitter.push`. */
export async function* splitLines(source: ByteSource): AsyncGenerator<string> {
  const lines = new LineSplitter();
  for await (const chunk of source) for (const line of lines.push(chunk)) yield line;
}
