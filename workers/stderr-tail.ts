/** Bytes of stderr kept for the log and for error replies. */
const KEEP = 64 * 1024;

/** `0.00.012.345 E srv  load_model: …`, or `error: …` of its command line. */
const ERROR_LINE = /^(?:[\d.]+ E (?:[^\s:]+\s+)?[^\s:]+:|error:)/;

/** How llama.cpp begins the lines of its log. */
const LOG_LINE = /^[\d.]+ [A-Z] /;

/** llama.cpp quotes a grammar that it cannot read, whole, on its stderr; it is a client's text and goes no further. */
export function withoutGrammar(text: string): string {
  let quoting = false;
  const kept = text.split('\n').flatMap((line) => {
    quoting &&= !LOG_LINE.test(line);
    if (quoting) return [];
    quoting = line.includes('error parsing grammar:');
    return [quoting ? line.replace(/(error parsing grammar:).*/, '$1 [grammar]') : line];
  });
  return kept.join('\n');
}

/** A text of a worker's without this machine's paths: where files lie is nobody's business who reads errors or logs. */
export function withoutPaths(text: string): string {
  return text.replace(/(?:\/[\w.@+-]+){2,}\/?/g, '[path]');
}

/**
 * Holds the last 64 KiB that a child wrote to stderr and cuts it into lines. It must always be fed: a child whose
 * stderr pipe is full stops altogether.
 */
export class StderrTail {
  #text = '';
  /** Characters dropped from the front so far, so that a position stays valid. */
  #dropped = 0;
  #rest = '';

  constructor(private readonly onLine: (line: string) => void) {}

  /** Takes the next piece of output. */
  push(chunk: string): void {
    this.#text += chunk;
    if (this.#text.length > 2 * KEEP) {
      this.#dropped += this.#text.length - KEEP;
      this.#text = this.#text.slice(-KEEP);
    }
    const lines = (this.#rest + chunk).split('\n');
    // A line without an end is cut as well, or a child that never ends one fills our memory.
    this.#rest = lines.pop()!.slice(-KEEP);
    for (const line of lines) this.onLine(line.trimEnd());
  }

  /** A mark for `since`. */
  position(): number {
    return this.#dropped + this.#text.length;
  }

  /** What came after a mark, at most `max` characters of its end. */
  since(position: number, max: number): string {
    return withoutGrammar(this.#text.slice(Math.max(0, position - this.#dropped))).slice(-max);
  }

  /** The last line that llama.cpp marked as an error, without its prefix and without paths; undefined without one. */
  lastError(): string | undefined {
    const line = this.#text.split('\n').findLast((candidate) => ERROR_LINE.test(candidate));
    return line && withoutPaths(line.replace(ERROR_LINE, '').trim()).slice(0, 200);
  }

  /** The last lines, for the log. */
  lastLines(count: number): string[] {
    return withoutGrammar(this.#text).trimEnd().split('\n').slice(-count);
  }
}
