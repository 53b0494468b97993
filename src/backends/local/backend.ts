import type {
  Backend,
  BackendStatus,
  GenerateContext,
  GenerateEvent,
  GenerateRequest,
  JsonObject,
  WorkerInfo,
} from '../../contract.js';
import { LMServError } from '../../errors.js';
import type { PoolObserver } from '../../observe/pool-observer.js';
import type { Lease, LeaseOptions, Pool } from '../../pool/pool.js';
import type { Logger } from '../../observe/logger.js';
import { withoutPaths } from '../../../workers/stderr-tail.js';
import { ChildRefusal } from '../../../workers/child-http.js';
import { WorkerFailure } from '../../../workers/failure.js';
import type { Worker } from '../../../workers/worker.js';
import { toChildRequest, type ChildRequest } from './child-request.js';
import { ChunkReader } from '../chunks.js';
import { continuationOf } from './continuation.js';
import { BadReply, ReplyCheck } from '../reply-check.js';
import { hasImage, ReplySoFar } from './reply-so-far.js';
import { refuseSpecialTokens } from './special-tokens.js';
import { withoutPrompt } from '../redact-prompt.js';
import { workerInfo } from './worker-info.js';

/** How often a request is run again when a worker failed without having given it a token. */
const RETRIES = 1;

/** How often a reply is gone on with; one that meets more failures than this is likely their cause. */
const RESUMES = 8;

/** Lines of a worker's stderr that go to the log with a failure. */
const LOG_LINES = 4;

/** Characters of a worker's own words that are handed on. */
const MAX_MESSAGE = 500;

export interface ResumeOptions {
  /** Replies whose worker fails go on with another one. */
  readonly enabled: boolean;
  /** How long one may wait for that worker, milliseconds. */
  readonly timeoutMs: number;
}

export interface LocalOptions {
  /** Absent: a reply that breaks is not gone on with. */
  readonly resume?: ResumeOptions;
  /** false: workers evaluate each prompt whole, so that nobody learns from it what others asked. */
  readonly promptCache?: boolean;
  /** Text of a client's that holds control tokens of the model is refused. */
  readonly rejectSpecialTokens?: boolean;
  readonly observer?: PoolObserver | undefined;
}

/** A model served by a pool of llama.cpp processes on this machine. */
export class LocalBackend implements Backend {
  constructor(
    readonly name: string,
    private readonly pool: Pool,
    private readonly logger: Logger,
    private readonly options: LocalOptions = {},
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

  workers(): WorkerInfo[] {
    return this.pool.workers().map((worker) => workerInfo(this.name, worker));
  }

  stop(graceMs: number): Promise<void> {
    return this.pool.stop(graceMs);
  }

  /** Ends all workers at once. */
  kill(): void {
    this.pool.kill();
  }

  /**
   * Runs a request on one worker, and when that fails on others: from the start while nothing came of it, else from
   * where it stopped, so that its client sees no break.
   */
  async *generate(request: GenerateRequest, context: GenerateContext): AsyncGenerator<GenerateEvent> {
    const reply = new ReplySoFar(request);
    let idleFailures = 0;
    for (let failures = 0; ; failures += 1) {
      const before = reply.tokens;
      const options = this.#leaseOptions(reply, context, failures > 0);
      try {
        for await (const event of this.#attempt(reply, options, context)) {
          const shown = reply.note(event);
          if (shown) yield shown;
        }
        return;
      } catch (error) {
        if (!(error instanceof WorkerFailure)) throw error;
        this.#logFailure(error, reply, context);
        if (reply.finished || reply.full) {
          if (!reply.finished) yield { type: 'finish', index: 0, reason: 'length' };
          yield { type: 'usage', usage: reply.usage() };
          return;
        }
        if (reply.tokens > before) idleFailures = 0;
        else if (!error.unreached) idleFailures += 1;
        if (idleFailures > RETRIES || failures === RESUMES || !this.#mayGoOn(reply))
          throw this.pool.refuses(request.body)
            ? new LMServError('prompt_quarantined', undefined, { cause: error })
            : toFailure(error, request.body);
        this.#noteNextAttempt(reply, context);
      }
    }
  }

  #noteNextAttempt({ begun }: ReplySoFar, { trace }: GenerateContext): void {
    trace.attempts += 1;
    if (begun) trace.resumes = (trace.resumes ?? 0) + 1;
    if (begun) this.options.observer?.resumed({ model: this.name });
    else this.options.observer?.retried({ model: this.name });
  }

  #mayGoOn(reply: ReplySoFar): boolean {
    return !reply.begun || (this.options.resume?.enabled === true && reply.resumable);
  }

  /** @param again it had a worker and lost it: it has waited already, and goes ahead of everybody. */
  #leaseOptions(
    { request }: ReplySoFar,
    { caller, trace, mayFallBack, slots }: GenerateContext,
    again: boolean,
  ): LeaseOptions {
    const { priority = 0, body } = request;
    const common = { caller: caller.address ?? caller.name, priority, slots, body };
    const { timeoutMs } = this.options.resume ?? {};
    if (again) {
      const wait = timeoutMs === undefined ? {} : { timeoutMs };
      return { ...common, ...wait, resumed: true };
    }
    return {
      ...common,
      mayWait: mayFallBack !== true,
      onWait: (position) => (trace.queuePosition ??= position),
    };
  }

  #logFailure(error: WorkerFailure, reply: ReplySoFar, { requestId, trace }: GenerateContext): void {
    const { kind, exit, stderr } = error;
    const line = {
      event: 'worker_failed_request',
      requestId,
      worker: trace.worker,
      kind,
      ...exit?.cause,
      tokens: reply.tokens,
      stderr: scrub(stderr, reply.request.body).split('\n').slice(-LOG_LINES),
    };
    this.logger.warn(line, 'a worker failed while it served a request');
  }

  /** The time waited counts also for a request that gets no slot. */
  async #lease(options: LeaseOptions, { signal, trace }: GenerateContext): Promise<Lease> {
    const began = performance.now();
    try {
      return await this.pool.lease(signal, options);
    } finally {
      trace.queueMs = (trace.queueMs ?? 0) + performance.now() - began;
    }
  }

  async *#attempt(
    reply: ReplySoFar,
    options: LeaseOptions,
    context: GenerateContext,
  ): AsyncGenerator<GenerateEvent> {
    const { signal, trace } = context;
    const lease = await this.#lease(options, context);
    trace.worker = lease.worker.id;
    let served = false;
    try {
      if (hasImage(reply.request.body) && !lease.worker.seesImages)
        throw new LMServError('invalid_value', NO_IMAGES);
      if (this.options.rejectSpecialTokens === true && !reply.begun)
        await refuseSpecialTokens(reply.request.body, (path, body) =>
          lease.worker.fetch('POST', path, body, signal),
        );
      const child = reply.begun
        ? await continuationOf(reply, lease.worker, signal)
        : toChildRequest(reply.request);
      if (this.options.promptCache === false) child.body.cache_prompt = false;
      for await (const event of reply.full ? nothingLeft() : read(lease.worker, child, reply, signal)) {
        served ||= event.type !== 'prefill';
        yield event;
      }
    } catch (error) {
      if (!(error instanceof ChildRefusal)) throw error;
      // A worker that says no is a healthy worker.
      served = true;
      throw fromRefusal(error, reply.request.body);
    } finally {
      lease.release(served, () => reply.text);
    }
  }
}

/** @throws LMServError `generation_failed` for what llama.cpp never sends, but a server in its place may. */
async function* read(
  worker: Worker,
  child: ChildRequest,
  { request }: ReplySoFar,
  signal: AbortSignal,
): AsyncGenerator<GenerateEvent> {
  const reader = new ChunkReader();
  const check = new ReplyCheck(request.body);
  try {
    for await (const chunk of worker.generate(child.path, child.body, signal))
      for (const event of reader.read(chunk)) yield* check.take(event);
  } catch (thrown) {
    throw thrown instanceof BadReply ? badReply(thrown.message) : thrown;
  }
  if (!check.finished) throw badReply('ended its reply before it was finished');
  yield check.usage();
}

function badReply(what: string): LMServError {
  return new LMServError('generation_failed', `The worker ${what}`);
}

/** The end of a reply of which another worker has given all the tokens that were asked for. */
async function* nothingLeft(): AsyncGenerator<GenerateEvent> {
  yield { type: 'finish', index: 0, reason: 'length' };
  yield { type: 'usage', usage: { promptTokens: 0, completionTokens: 0, cachedTokens: 0 } };
}

const NO_IMAGES = 'messages: this model does not take images';

/** llama.cpp's own words name the field and carry no text of the client's, so 400s are handed on as they are. */
function fromRefusal(refusal: ChildRefusal, body: JsonObject): LMServError {
  const message = refusal.message.slice(0, MAX_MESSAGE);
  if (refusal.type === 'exceed_context_size_error') {
    const param = 'prompt' in body ? 'prompt' : 'messages';
    return new LMServError('context_length_exceeded', message, { param });
  }
  if (refusal.status >= 400 && refusal.status < 500) return new LMServError('invalid_value', message);
  return new LMServError('generation_failed', 'The worker could not generate', { cause: refusal });
}

function toFailure(failure: WorkerFailure, body: JsonObject): LMServError {
  return new LMServError('generation_failed', `The generation failed: ${failure.message}`, {
    cause: failure,
    stderr: scrub(failure.stderr, body),
  });
}

/** Takes paths and the client's own text out of what a worker wrote to stderr. */
function scrub(stderr: string, body: JsonObject): string {
  return withoutPaths(withoutPrompt(stderr, body));
}
