import type {
  Backend,
  BackendStatus,
  GenerateContext,
  GenerateEvent,
  GenerateRequest,
  WorkerInfo,
} from '../contract.js';

/**
 * A backend that knows whether it is in use, so that one that has left the configuration can finish its replies,
 * those still waiting in its queue included, before it is stopped.
 */
export class TrackedBackend implements Backend {
  readonly #inner: Backend;
  #running = 0;
  readonly #idle = new Set<() => void>();

  constructor(inner: Backend) {
    this.#inner = inner;
  }

  get name(): string {
    return this.#inner.name;
  }

  /** Generations that run or wait. */
  get running(): number {
    return this.#running;
  }

  start(): void {
    this.#inner.start();
  }

  status(): BackendStatus {
    return this.#inner.status();
  }

  workers(): readonly WorkerInfo[] {
    return this.#inner.workers?.() ?? [];
  }

  async *generate(request: GenerateRequest, context: GenerateContext): AsyncGenerator<GenerateEvent> {
    this.#running += 1;
    try {
      yield* this.#inner.generate(request, context);
    } finally {
      this.#running -= 1;
      if (this.#running === 0) this.#announceIdle();
    }
  }

  /** Waits until nothing runs any more, at most `graceMs` milliseconds, then stops the backend at once. */
  async stop(graceMs: number): Promise<void> {
    if (this.#running > 0 && graceMs > 0) await this.#whenIdle(graceMs);
    await this.#inner.stop(0);
  }

  #whenIdle(atMostMs: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#idle.delete(done);
        resolve();
      };
      const timer = setTimeout(done, atMostMs);
      this.#idle.add(done);
    });
  }

  #announceIdle(): void {
    for (const done of [...this.#idle]) done();
  }
}
