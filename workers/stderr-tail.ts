/** Characters of stderr kept for the log and for error replies. */
const MAX_KEPT = 64 * 1024;

/** `0.00.012.345 E srv  load_model: …`, or `error: …` for its command line. */
const ERROR_LINE = /^(?:[\d.]+ E (?:[^\s:]+\s+)?[^\s:]+:|error:)/;

/** The start of a line in llama.cpp's log. */
const LOG_LINE = /^[\d.]+ [A-Z] /;

/** Removes grammars: llama.cpp quotes an invalid grammar on stderr, which is a client's text. */
function withoutGrammar(text: string): string {
  let quoting = false;
  const kept = text.split('\n').flatMap((line) => {
    quoting &&= !LOG_LINE.test(line);
    if (quoting) return [];
    quoting = line.includes('error parsing grammar:');
    return [quoting ? line.replace(/(error parsing grammar:).*/, '$1 [grammar]') : line];
  });
  return kept.join('\n');
}

/** Removes paths, so that file paths do not leak into logs and error replies. */
export function withoutPaths(text: string): string {
  return text.replace(/(?:\/[\w.@+-]+){2,}\/?/g, '[path]');
}

/**
 * Keeps the last 64 Ki characters of a child's stderr, and splits it into lines until `stopLines`. Reading must never
 * stop: a child whose stderr pipe is full blocks.
 */
export class StderrTail {
  #onLine: ((line: string) => void) | undefined;
  #text = '';
  /** Number of characters dropped from the front, so that positions stay valid. */
  #dropped = 0;
  /** The incomplete last line. */
  #partial = '';

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine;
  }

  /** Adds the next piece of output. */
  push(chunk: string): void {
    this.#text += chunk;
    if (this.#text.length > 2 * MAX_KEPT) {
      this.#dropped += this.#text.length - MAX_KEPT;
      this.#text = this.#text.slice(-MAX_KEPT);
    }
    if (this.#onLine) this.#split(chunk, this.#onLine);
  }

  /** Passes on no more lines. llama.cpp logs one for each prompt in its cache at every request. */
  stopLines(): void {
    this.#onLine = undefined;
    this.#partial = '';
  }

  /** The current position, for `since`. */
  position(): number {
    return this.#dropped + this.#text.length;
  }

  /** The last `max` characters, at most, of the output since a position. */
  since(position: number, max: number): string {
    return withoutGrammar(this.#text.slice(Math.max(0, position - this.#dropped))).slice(-max);
  }

  /** The last line that llama.cpp marked as an error, without prefix and paths; undefined if there is none. */
  lastError(): string | undefined {
    const line = this.#text.split('\n').findLast((candidate) => ERROR_LINE.test(candidate));
    return line && withoutPaths(line.replace(ERROR_LINE, '').trim()).slice(0, 200);
  }

  /** The last lines, for the log. */
  lastLines(count: number): string[] {
    return withoutGrammar(this.#text).trimEnd().split('\n').slice(-count);
  }

  #split(chunk: string, onLine: (line: string) => void): void {
    const lines = (this.#partial + chunk).split('\n');
    // Bounded as well, because a child may never end a line.
    this.#partial = lines.pop()!.slice(-MAX_KEPT);
    for (const line of lines) onLine(line.trimEnd());
  }
}
