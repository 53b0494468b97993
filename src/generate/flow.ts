import type { Flow, FlowSource } from '../contract.js';

/** The back-pressure of one reply: its writer holds it and releases it. */
export class ReplyFlow implements Flow {
  #held = false;
  readonly #sources = new Set<FlowSource>();

  get held(): boolean {
    return this.#held;
  }

  attach(source: FlowSource): () => void {
    this.#sources.add(source);
    if (this.#held) source.pause();
    return () => this.#sources.delete(source);
  }

  hold(): void {
    if (this.#held) return;
    this.#held = true;
    for (const source of this.#sources) source.pause();
  }

  release(): void {
    if (!this.#held) return;
    this.#held = false;
    for (const source of this.#sources) source.resume();
  }
}
