import type {
  Backend,
  BackendStatus,
  CustomBackend,
  GenerateContext,
  GenerateRequest,
  OpenReply,
  Sink,
  WorkerInfo,
} from '../contract.js';
import { LMServError } from '../errors.js';
import { BadReply } from '../wire/bad-reply.js';
import { InUse } from './in-use.js';
import { opening } from './opening.js';
import { ReplyReader } from './reply-reader.js';

/**
 * Adapts a backend whose events are pulled, such as the mock or one of the program that embeds LMServ. All events are
 * checked first.
 */
export class PulledBackend implements Backend {
  readonly name: string;
  readonly #inner: CustomBackend;
  readonly #inUse = new InUse();

  constructor(name: string, inner: CustomBackend) {
    this.name = name;
    this.#inner = inner;
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

  async stop(graceMs: number): Promise<void> {
    await this.#inUse.close(graceMs);
    await this.#inner.stop(0);
  }

  /** @throws LMServError `generation_failed` for a reply that is malformed or has no finish; what the backend throws. */
  open(request: GenerateRequest, context: GenerateContext, sink: Sink): Promise<OpenReply> {
    return opening((begun) => {
      const reader = new ReplyReader(request.body, sink, begun, false);
      return this.#inUse.during(() => this.#run(request, context, reader));
    });
  }

  async #run(request: GenerateRequest, context: GenerateContext, reader: ReplyReader): Promise<void> {
    try {
      for await (const event of this.#inner.generate(request, context)) {
        reader.event(event);
        if (context.flow.held) await released(context);
        context.signal.throwIfAborted();
      }
      reader.checkFinished();
    } catch (thrown) {
      if (!(thrown instanceof BadReply)) throw thrown;
      throw new LMServError('generation_failed', `The backend ${this.name} ${thrown.message}`);
    }
    reader.end();
  }
}

/** Resolves when the client reads again or has left. */
export function released({ flow, signal }: Pick<GenerateContext, 'flow' | 'signal'>): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      detach();
      signal.removeEventListener('abort', end);
      resolve();
    };
    const detach = flow.attach({ pause: () => undefined, resume: end });
    signal.addEventListener('abort', end);
    if (signal.aborted) end();
  });
}
