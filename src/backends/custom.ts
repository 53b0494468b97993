import type {
  Backend,
  BackendStatus,
  GenerateContext,
  GenerateEvent,
  GenerateRequest,
  WorkerInfo,
} from '../contract.js';
import { LMServError } from '../errors.js';
import { BadReply, ReplyCheck } from './reply-check.js';

/** A backend of the program that embeds LMServ: its events are checked before anything relies on them. */
export class CustomBackend implements Backend {
  readonly #inner: Backend;

  constructor(
    readonly name: string,
    inner: Backend,
  ) {
    this.#inner = inner;
  }

  start(): void {
    this.#inner.start();
  }

  stop(graceMs: number): Promise<void> {
    return this.#inner.stop(graceMs);
  }

  status(): BackendStatus {
    return this.#inner.status();
  }

  workers(): readonly WorkerInfo[] {
    return this.#inner.workers?.() ?? [];
  }

  /** @throws LMServError `generation_failed` for a reply that is not well-formed or has no finish; what the backend throws. */
  async *generate(request: GenerateRequest, context: GenerateContext): AsyncGenerator<GenerateEvent> {
    const check = new ReplyCheck(request.body);
    try {
      for await (const event of this.#inner.generate(request, context)) yield* check.take(event);
    } catch (thrown) {
      throw thrown instanceof BadReply ? this.#bad(thrown.message) : thrown;
    }
    if (!check.finished) throw this.#bad('ended its reply before it was finished');
    yield check.usage();
  }

  #bad(what: string): LMServError {
    return new LMServError('generation_failed', `The backend ${this.name} ${what}`);
  }
}
