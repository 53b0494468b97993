import type { Readable } from 'node:stream';

/** Characters kept of what came while nobody asked; beyond it the stream is paused. */
const MOST_KEPT = 64 * 1024;

/**
 * The text of a stream, taken as it arrives. It listens to the stream's `data` rather than iterating it, because that
 * happens for each token.
 */
export class Arrivals {
  readonly #source: Readable;
  #text = '';
  #ended = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;

  constructor(source: Readable) {
    this.#source = source;
    source.setEncoding('utf8');
    source.on('data', (text: string) => this.#keep(text));
    source.once('end', () => this.#end());
    source.once('error', (error) => this.#end(error));
    source.once('close', () => this.#end());
  }

  /**
   * Waits for what comes next and returns all that has come; undefined at the end of the stream. One call at a time.
   *
   * @throws the stream's error, after what came before it.
   */
  async take(): Promise<string | undefined> {
    if (this.#text === '' && !this.#ended) {
      this.#source.resume();
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    const text = this.#text;
    this.#text = '';
    if (text !== '') return text;
    if (this.#error) throw this.#error;
    return undefined;
  }

  #keep(text: string): void {
    this.#text += text;
    if (this.#text.length > MOST_KEPT) this.#source.pause();
    this.#wakeUp();
  }

  #end(error?: Error): void {
    this.#ended = true;
    this.#error ??= error;
    this.#wakeUp();
  }

  #wakeUp(): void {
    this.#wake?.();
    this.#wake = undefined;
  }
}
