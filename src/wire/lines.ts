/** What a stream of bytes can be read as: a Node stream, a web stream's async iterator, a test's array. */
export type ByteSource = AsyncIterable<Uint8Array | string>;

/** Characters of the longest line or event that is read: a peer that never ends one must not fill our memory. */
export const MAX_EVENT = 1024 * 1024;

/** A peer sent a line or an event that is longer than any sane one. */
export class StreamTooLong extends RangeError {
  override readonly name = 'StreamTooLong';

  constructor() {
    super('an event of the stream is longer than 1 Mi characters');
  }
}

/** Characters that are gathered before they are joined into one string, which costs less memory than many pieces. */
const BLOCK = 64 * 1024;

/**
 * Cuts a byte stream at line feeds, `\r\n` included, decoding UTF-8 across chunk borders. A last line without a line
 * feed never comes out: it was cut. Takes linear time, however small the chunks are.
 */
export class LineSplitter {
  readonly #decoder = new TextDecoder();
  readonly #unended = new Pieces();

  /**
   * Takes the next chunk and yields the lines it ends.
   *
   * @throws StreamTooLong when a line is longer than 1 Mi characters.
   */
  *push(chunk: Uint8Array | string): Generator<string> {
    const text = typeof chunk === 'string' ? chunk : this.#decoder.decode(chunk, { stream: true });
    let start = 0;
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', start)) {
      this.#unended.add(text.slice(start, end));
      const line = this.#unended.take();
      yield line.endsWith('\r') ? line.slice(0, -1) : line;
      start = end + 1;
    }
    this.#unended.add(text.slice(start));
  }
}

/** A line that has not ended yet. */
class Pieces {
  #blocks: string[] = [];
  #pieces: string[] = [];
  #piecesLength = 0;
  #length = 0;

  /** @throws StreamTooLong */
  add(piece: string): void {
    if (piece === '') return;
    this.#length += piece.length;
    if (this.#length > MAX_EVENT) throw new StreamTooLong();
    this.#pieces.push(piece);
    this.#piecesLength += piece.length;
    if (this.#piecesLength >= BLOCK) this.#join();
  }

  take(): string {
    if (this.#length === 0) return '';
    if (this.#blocks.length === 0 && this.#pieces.length === 1) return this.#end(this.#pieces[0]!);
    this.#join();
    return this.#end(this.#blocks.join(''));
  }

  #join(): void {
    this.#blocks.push(this.#pieces.join(''));
    this.#pieces = [];
    this.#piecesLength = 0;
  }

  #end(line: string): string {
    this.#blocks = [];
    this.#pieces = [];
    this.#piecesLength = 0;
    this.#length = 0;
    return line;
  }
}

/** Yields each line of a byte stream as `LineSplitter` cuts it. @throws as `LineSplitter.push`. */
export async function* splitLines(source: ByteSource): AsyncGenerator<string> {
  const lines = new LineSplitter();
  for await (const chunk of source) for (const line of lines.push(chunk)) yield line;
}
