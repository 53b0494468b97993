/** Server-sent events as OpenAI's servers use them: `data:` fields, sometimes named by `event:`; comments are pings. */

/** What a stream of bytes can be read as: a Node stream, a web stream's async iterator, a test's array. */
export type ByteSource = AsyncIterable<Uint8Array | string>;

/** Max characters of an event, so that a peer that never ends one cannot fill the memory. */
const MAX_EVENT = 1024 * 1024;

/** Added to the length of each `data:` line, so that an event of countless empty lines is limited too. */
const LINE_COST = 64;

/** Characters collected before they are joined into one string, which takes less memory than many pieces. */
const BLOCK = 64 * 1024;

/** A peer sent an excessively long line or event. */
export class StreamTooLong extends RangeError {
  override readonly name = 'StreamTooLong';

  constructor() {
    super('an event of the stream is longer than 1 Mi characters');
  }
}

/** The payload that ends an OpenAI stream. */
export const DONE = '[DONE]';

/** Comment line that keeps a connection alive; every SSE parser drops it. */
export const PING = ': ping\n\n';

/** Receives the payload of an event, and its type if the event has one. */
type OnData = (data: string, event: string | undefined) => void;

/** Encodes one event; `data` must have no line break of its own, which JSON never has. */
export function encodeSse(data: string): string {
  return `data: ${data}\n\n`;
}

/**
 * Reads the payload of each event, `[DONE]` included, as soon as its blank line arrives, decoding UTF-8 across chunk
 * borders. Lines end with `\n` or `\r\n`. An event cut off by the end of the stream is dropped, so that a cut does not
 * look like an event; `end` tells of a `[DONE]` without its blank line. Takes linear time, however small the chunks are.
 */
export class SseDecoder {
  readonly #decoder = new TextDecoder();
  readonly #unended = new UnendedLine();
  #data: string | undefined;
  #event: string | undefined;
  #size = 0;

  /**
   * Takes the next chunk and calls `onData` with each payload that it completes, and with the event's type if it has one;
   * errors of `onData` are thrown. A callback instead of a generator, because this runs for every token.
   *
   * @throws StreamTooLong when a line or an event, each of its lines counted as 64 characters more, is longer than 1 Mi
   *   characters.
   */
  push(chunk: Uint8Array | string, onData: OnData): void {
    const text = typeof chunk === 'string' ? chunk : this.#decoder.decode(chunk, { stream: true });
    let start = 0;
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', start)) {
      const line = text.slice(start, end);
      this.#readLine(this.#unended.isEmpty ? line : this.#unended.endWith(line), onData);
      start = end + 1;
    }
    if (start < text.length) this.#unended.add(text.slice(start));
  }

  /** At the end of the stream: whether it ended with `[DONE]`, which cannot be the beginning of another event. */
  end(): boolean {
    if (!this.#unended.isEmpty) this.#readLine(this.#unended.endWith(''), () => undefined);
    return this.#data === DONE;
  }

  #readLine(ended: string, onData: OnData): void {
    const line = ended.endsWith('\r') ? ended.slice(0, -1) : ended;
    if (line.startsWith('data:')) this.#add(line.slice(line.charCodeAt(5) === 0x20 ? 6 : 5));
    else if (line === '') this.#end(onData);
    else if (line.startsWith('event:')) this.#event = line.slice(6).trim();
  }

  #end(onData: OnData): void {
    const [data, event] = [this.#data, this.#event];
    this.#data = this.#event = undefined;
    this.#size = 0;
    if (data !== undefined) onData(data, event);
  }

  #add(value: string): void {
    this.#size += value.length;
    if (this.#data !== undefined) this.#size += LINE_COST;
    if (this.#size > MAX_EVENT) throw new StreamTooLong();
    this.#data = this.#data === undefined ? value : `${this.#data}\n${value}`;
  }
}

/** The beginning of an incomplete line. */
class UnendedLine {
  #blocks: string[] = [];
  #pieces: string[] = [];
  #piecesLength = 0;
  #length = 0;

  get isEmpty(): boolean {
    return this.#length === 0;
  }

  /** @throws StreamTooLong */
  add(piece: string): void {
    this.#length += piece.length;
    if (this.#length > MAX_EVENT) throw new StreamTooLong();
    this.#pieces.push(piece);
    this.#piecesLength += piece.length;
    if (this.#piecesLength >= BLOCK) this.#join();
  }

  /** Completes the line with its last piece and starts the next one. @throws StreamTooLong */
  endWith(piece: string): string {
    this.add(piece);
    this.#join();
    const line = this.#blocks.join('');
    this.#blocks = [];
    this.#length = 0;
    return line;
  }

  #join(): void {
    this.#blocks.push(this.#pieces.join(''));
    this.#pieces = [];
    this.#piecesLength = 0;
  }
}

/** Yields each payload of a byte stream as `SseDecoder` reads it, a `[DONE]` without its blank line included. @throws as `SseDecoder.push`. */
export async function* decodeSse(source: ByteSource): AsyncGenerator<string> {
  const events = new SseDecoder();
  const ready: string[] = [];
  for await (const chunk of source) {
    events.push(chunk, (data) => ready.push(data));
    yield* ready.splice(0);
  }
  if (events.end()) yield DONE;
}
