import { exchange, type Target } from './exchange.js';

/** Milliseconds between two questions. */
const EVERY_MS = 250;

/** Asks for the server's health while it is at work. */
export class HealthProbe {
  /** How long each answer took, milliseconds. */
  readonly times: number[] = [];
  /** Questions that got no answer of health at all: neither 200 nor 503. */
  failures = 0;
  readonly #open = new Set<Promise<void>>();
  #timer: NodeJS.Timeout | undefined;

  constructor(private readonly target: Target) {}

  start(): void {
    this.#timer = setInterval(() => {
      const asked: Promise<void> = this.#ask().finally(() => this.#open.delete(asked));
      this.#open.add(asked);
    }, EVERY_MS);
  }

  /** Resolves when the last answer has come. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#open);
  }

  async #ask(): Promise<void> {
    const { status, ms } = await exchange(this.target, { method: 'GET', path: '/health' });
    // 503 says that all workers are gone at the moment, which may well be so.
    if (status === 200 || status === 503) this.times.push(ms);
    else this.failures += 1;
  }
}
