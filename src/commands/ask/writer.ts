import { abortable } from '../../client/abortable.js';

/** A stdout: the process's own or a test's stream. */
export type AnswerOutput = NodeJS.WritableStream & { readonly isTTY?: boolean };

/** Writes a reply's pieces at the pace of the output, and knows whether a line is open. */
export class AnswerWriter {
  readonly #out: AnswerOutput;
  readonly #signal: AbortSignal | undefined;
  #lineOpen = false;
  #closed = false;

  constructor(out: AnswerOutput, signal: AbortSignal | undefined) {
    this.#out = out;
    this.#signal = signal;
    // A reader that went away (`| head -1`) is an error event, which without a listener ends the process with a trace.
    out.on('error', () => {
      this.#closed = true;
    });
  }

  /** Nobody reads the output any more. */
  get closed(): boolean {
    return this.#closed;
  }

  /** @throws when the output is closed; the signal's reason when it aborts while the output is stuck. */
  async write(text: string): Promise<void> {
    const shown = this.#out.isTTY ? withoutControls(text) : text;
    if (shown === '') return;
    this.#lineOpen = !shown.endsWith('\n');
    await abortable(this.#flush(shown), this.#signal);
  }

  /** Ends the open line, so that a prompt or a message begins on its own. */
  async end(): Promise<void> {
    if (!this.#lineOpen) return;
    this.#lineOpen = false;
    // Also after an abort; then without waiting for an output that may be stuck.
    const flushed = this.#flush('\n');
    if (this.#signal?.aborted) flushed.catch(() => undefined);
    else await flushed;
  }

  #flush(text: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#out.write(text, (error) => {
        if (!error) return resolve();
        this.#closed = true;
        reject(error);
      });
    });
  }
}

/** A model's output is not trusted: escape sequences could rewrite the screen or the window's title. */
function withoutControls(text: string): string {
  return text.replace(/[^\P{Cc}\n\t]/gu, '');
}
