import type { Backend, BackendStatus, GenerateContext, GenerateEvent, GenerateRequest } from '../contract.js';
import { LMServError } from '../errors.js';
import type { Pool } from '../pool/pool.js';
import type { Logger } from '../observe/logger.js';
import { ChildRefusal } from '../../workers/talk.js';
import { WorkerFailure, type Worker } from '../../workers/worker.js';
import { toChildRequest, type ChildRequest } from './child-request.js';
import { ChunkReader } from './chunks.js';
import { withoutPrompt } from './without-prompt.js';

/** A request whose worker fails before its first token is run again this often. */
const RETRIES = 1;

/** A model served by a pool of llama.cpp processes on this machine. */
export class LocalBackend implements Backend {
  constructor(
    readonly name: string,
    private readonly pool: Pool,
    private readonly logger: Logger,
  ) {}

  /** Resolves when the first worker takes requests. */
  get ready(): Promise<void> {
    return this.pool.firstReady;
  }

  /** Resolves when it is known whether the model can be started: true with the first ready worker. */
  get started(): Promise<boolean> {
    return this.pool.started;
  }

  start(): void {
    this.pool.start();
  }

  /** Process ids of the living workers. */
  pids(): number[] {
    return this.pool.pids();
  }

  status(): BackendStatus {
    return this.pool.status();
  }

  stop(graceMs: number): Promise<void> {
    return this.pool.stop(graceMs);
  }

  /** Ends all workers at once. */
  kill(): void {
    this.pool.kill();
  }

  async *generate(request: GenerateRequest, context: GenerateContext): AsyncGenerator<GenerateEvent> {
    const child = toChildRequest(request);
    for (let failures = 0; ; failures += 1) {
      let begun = false;
      try {
        for await (const event of this.#attempt(child, request.priority ?? 0, context)) {
          begun ||= event.type !== 'prefill';
          yield event;
        }
        return;
      } catch (error) {
        if (!(error instanceof WorkerFailure)) throw error;
        this.logger.warn(
          {
            event: 'generation_failed',
            requestId: context.requestId,
            worker: context.trace.worker,
            kind: error.kind,
          },
          'a worker failed while it served a request',
        );
        if (begun || failures === RETRIES) throw toFailure(error, child);
        context.trace.attempts += 1;
      }
    }
  }

  async *#attempt(
    child: ChildRequest,
    priority: number,
    context: GenerateContext,
  ): AsyncGenerator<GenerateEvent> {
    const { signal, trace } = context;
    const lease = await this.pool.lease(signal, priority, context.mayFallBack !== true);
    trace.queueMs = (trace.queueMs ?? 0) + lease.queueMs;
    trace.worker = lease.worker.id;
    let served = false;
    try {
      for await (const event of read(lease.worker, child, signal)) {
        served ||= event.type !== 'prefill';
        yield event;
      }
    } catch (error) {
      if (!(error instanceof ChildRefusal)) throw error;
      // A worker that says no is a healthy worker.
      served = true;
      throw fromRefusal(error, child);
    } finally {
      lease.release(served);
    }
  }
}

async function* read(
  worker: Worker,
  child: ChildRequest,
  signal: AbortSignal,
): AsyncGenerator<GenerateEvent> {
  const reader = new ChunkReader();
  for await (const chunk of worker.generate(child.path, child.body, signal)) yield* reader.read(chunk);
}

/** llama.cpp's own words name the field and carry no text of the client's, so 400s are handed on as they are. */
function fromRefusal(refusal: ChildRefusal, child: ChildRequest): LMServError {
  if (refusal.type === 'exceed_context_size_error') {
    const param = 'prompt' in child.body ? 'prompt' : 'messages';
    return new LMServError('context_length_exceeded', refusal.message, { param });
  }
  if (refusal.status >= 400 && refusal.status < 500) return new LMServError('invalid_value', refusal.message);
  return new LMServError('generation_failed', 'The worker could not generate', { cause: refusal });
}

function toFailure(failure: WorkerFailure, child: ChildRequest): LMServError {
  return new LMServError('generation_failed', `The generation failed: ${failure.message}`, {
    cause: failure,
    stderr: scrub(failure.stderr, child),
  });
}

/** Takes paths and the client's own text out of what a worker wrote to stderr. */
function scrub(stderr: string, child: ChildRequest): string {
  return withoutPrompt(stderr, child.body).replace(/(?:\/[\w.@+-]+){2,}\/?/g, '[path]');
}
