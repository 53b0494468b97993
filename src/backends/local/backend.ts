import PQueue from 'p-queue';
import type {
  Backend,
  BackendStatus,
  GenerateContext,
  GenerateRequest,
  JsonObject,
  ModelFacts,
  OpenReply,
  Sink,
  WorkerInfo,
} from '../../contract.js';
import { LMServError } from '../../errors.js';
import type { Lease, LeaseOptions, Pool } from '../../pool/pool.js';
import type { Logger } from '../../observe/logger.js';
import { withoutPaths } from '../../../workers/stderr-tail.js';
import { ChildRefusal } from '../../../workers/child-http.js';
import { WorkerFailure } from '../../../workers/failure.js';
import type { Worker } from '../../../workers/worker.js';
import { requireImages } from './child-request.js';
import { countTokens } from './count-tokens.js';
import { Generation, type GenerationOptions } from './generation.js';
import { ReplySoFar } from './reply-so-far.js';
import { templateRefusal } from './shaping/template-error.js';
import { Template } from './shaping/template.js';
import { BadReply } from '../../wire/bad-reply.js';
import { InUse } from '../in-use.js';
import { opening } from '../opening.js';
import { withoutPrompt } from '../redact-prompt.js';
import { ReplyReader } from '../reply-reader.js';
import { workerInfo } from './worker-info.js';

/** Max retries of a request whose worker failed before the first token. */
const RETRIES = 1;

/** Max resumes of a reply; one that meets more failures is probably their cause. */
const RESUMES = 8;

/** Interval between reports to a client that waits for a load, milliseconds. */
const LOADING_MS = 1_000;

/** Lines of a worker's stderr logged with a failure. */
const LOG_LINES = 4;

/** Max characters of a worker's message that are passed on. */
const MAX_MESSAGE = 500;

export interface LocalOptions extends GenerationOptions {
  /** What its file tells, until a worker has told more. */
  readonly facts?: ModelFacts;
  /** Another worker resumes a reply whose worker fails. */
  readonly resume?: boolean;
}

/** A model served by a pool of llama.cpp processes on this machine. */
export class LocalBackend implements Backend {
  readonly name: string;
  readonly #pool: Pool;
  readonly #logger: Logger;
  readonly #options: LocalOptions;
  readonly #inUse = new InUse();
  readonly #template: Template;
  /** One count at a time: workers render and tokenise beside their replies. */
  readonly #counts = new PQueue({ concurrency: 1 });

  constructor(name: string, pool: Pool, logger: Logger, options: LocalOptions = {}) {
    this.name = name;
    this.#pool = pool;
    this.#logger = logger;
    this.#options = options;
    const ready = () => pool.workers().find(({ state }) => state === 'ready');
    this.#template = new Template(name, ready, logger, options.facts);
  }

  /** Resolves when the first worker takes requests. */
  get ready(): Promise<void> {
    return this.#pool.firstReady;
  }

  /** Resolves when it is known whether the model can be started: true with the first ready worker. */
  get started(): Promise<boolean> {
    return this.#pool.started;
  }

  start(): void {
    this.#pool.start();
  }

  /** Its place in memory, for whoever decides about that. */
  get pool(): Pool {
    return this.#pool;
  }

  /** Process ids of the running workers. */
  pids(): number[] {
    return this.#pool.pids();
  }

  status(): BackendStatus {
    return this.#pool.status();
  }

  /** Resolves when all is learned of the model that can be; at once while no worker is ready. */
  async learned(): Promise<void> {
    // The worker that is asked must stay in memory meanwhile.
    const end = this.#pool.use();
    await this.#template.learn().finally(end);
  }

  facts(): ModelFacts {
    return this.#template.known.facts;
  }

  workers(): WorkerInfo[] {
    return this.#pool.workers().map((worker) => workerInfo(this.name, worker));
  }

  async stop(graceMs: number): Promise<void> {
    await this.#inUse.close(graceMs);
    await this.#pool.stop();
  }

  /** Ends all workers at once. */
  kill(): void {
    this.#pool.kill();
  }

  /**
   * Runs a request on one worker, and if that fails on others: from the start before the first token, otherwise from
   * where the reply stopped, so that its client sees no interruption.
   */
  open(request: GenerateRequest, context: GenerateContext, sink: Sink): Promise<OpenReply> {
    return opening((begun) => this.#inUse.during(() => this.#run(request, context, sink, begun)));
  }

  /** Counts by a ready worker, beside its replies: a count takes no slot. */
  countTokens(request: GenerateRequest, signal: AbortSignal): Promise<number> {
    return this.#inUse.during(() => this.#counts.add(() => this.#count(request, signal), { signal }));
  }

  async #count(request: GenerateRequest, signal: AbortSignal): Promise<number> {
    this.#requireImages(request.body);
    const worker = await this.#readyWorker(signal);
    const template = this.#options.messageShaping === true ? this.#template : undefined;
    try {
      return await countTokens(request, worker, template, signal);
    } catch (error) {
      if (error instanceof WorkerFailure) throw new LMServError('unavailable', undefined, { cause: error });
      if (!(error instanceof ChildRefusal)) throw error;
      throw templateRefusal(error) ?? fromRefusal(error, request.body);
    }
  }

  /** Counting takes no slot; only a model that is unloaded is waited for in the queue, and loaded by that. */
  async #readyWorker(signal: AbortSignal): Promise<Worker> {
    const ready = this.#pool.workers().find(({ state }) => state === 'ready');
    if (ready) return ready;
    const lease = await this.#pool.lease(signal);
    lease.release(false);
    return lease.worker;
  }

  async #run(
    request: GenerateRequest,
    context: GenerateContext,
    sink: Sink,
    begun: () => void,
  ): Promise<void> {
    this.#requireImages(request.body);
    const reader = new ReplyReader(request.body, sink, begun);
    const reply = new ReplySoFar(request, reader);
    const generation = new Generation({
      ...{ name: this.name, request, reply, reader, context, sink },
      ...{ template: this.#template, options: this.#options, logger: this.#logger },
    });
    const attempt: Attempt = { request, generation, reader, reply, context, sink, again: false };
    sink.event({ type: 'model', state: this.#pool.state });
    try {
      await this.#runAttempts(attempt);
    } finally {
      attempt.end?.();
    }
    reader.end(reply.carried);
  }

  async #runAttempts(attempt: Attempt): Promise<void> {
    const { request, reply, reader } = attempt;
    let idleFailures = 0;
    for (let failures = 0; ; failures += 1) {
      const before = reply.tokens;
      try {
        await this.#attempt(attempt);
        break;
      } catch (error) {
        if (!(error instanceof WorkerFailure)) throw error;
        this.#logFailure(error, attempt);
        if (reply.finished) break;
        if (reply.full) {
          reader.event({ type: 'finish', index: 0, reason: 'length' });
          break;
        }
        if (reply.tokens > before) idleFailures = 0;
        else if (!error.unreached) idleFailures += 1;
        if (idleFailures > RETRIES || failures === RESUMES || !this.#mayContinue(reply))
          throw this.#pool.refuses(request.body)
            ? new LMServError('prompt_quarantined', undefined, { cause: error })
            : toFailure(error, request.body);
        this.#noteNextAttempt(attempt);
      }
    }
  }

  /** Before a wait for a slot, or for the model to load. @throws LMServError `invalid_value`. */
  #requireImages(body: JsonObject): void {
    const worker = this.#pool.workers().find(({ state }) => state === 'ready');
    requireImages(body, worker?.supportsImages ?? this.facts().capabilities.includes('images'), this.name);
  }

  #noteNextAttempt(attempt: Attempt): void {
    const { begun } = attempt.reply;
    attempt.again = true;
    attempt.sink.event({ type: 'retry', resumed: begun });
    if (begun) this.#options.observer?.resumed({ model: this.name });
    else this.#options.observer?.retried({ model: this.name });
  }

  #mayContinue(reply: ReplySoFar): boolean {
    return !reply.begun || (this.#options.resume === true && reply.resumable);
  }

  #leaseOptions({ request, context, sink, again }: Attempt, onWait: () => void): LeaseOptions {
    const { caller, mayFallBack, slots } = context;
    const { priority = 0, body } = request;
    const common = {
      caller: caller.address ?? caller.name,
      priority,
      slots,
      body,
      onWait: (position: number) => {
        sink.event({ type: 'queued', position });
        onWait();
      },
    };
    return again ? { ...common, resumed: true } : { ...common, mayWait: mayFallBack !== true };
  }

  #logFailure(error: WorkerFailure, { request, reply, context, worker }: Attempt): void {
    const { kind, exit, stderr } = error;
    const line = {
      event: 'worker_failed_request',
      requestId: context.requestId,
      worker,
      kind,
      ...exit?.status,
      tokens: reply.tokens,
      stderr: scrub(stderr, request.body).split('\n').slice(-LOG_LINES),
    };
    this.#logger.warn(line, 'a worker failed while it served a request');
  }

  async #lease(attempt: Attempt): Promise<Lease> {
    let reports: NodeJS.Timeout | undefined;
    let waited = false;
    const onWait = () => {
      waited = true;
      reports = this.#reportLoad(attempt.sink);
    };
    try {
      const lease = await this.#pool.lease(attempt.context.signal, this.#leaseOptions(attempt, onWait));
      attempt.end ??= this.#pool.use();
      return lease;
    } finally {
      clearInterval(reports);
      if (waited) attempt.sink.event({ type: 'dequeued' });
    }
  }

  /** Tells a request that waits for the model to load how far that is; returns the timer that does. */
  #reportLoad(sink: Sink): NodeJS.Timeout | undefined {
    if (this.#pool.loaded) return undefined;
    const began = performance.now();
    const report = () => {
      const left = this.#pool.untilLoadedMs;
      if (left === 0) return;
      const passed = performance.now() - began;
      const percent = left === undefined ? undefined : Math.floor((100 * passed) / (passed + left));
      sink.event({ type: 'loading', percent });
    };
    report();
    return setInterval(report, LOADING_MS);
  }

  async #attempt(attempt: Attempt): Promise<void> {
    const { reply, generation, sink } = attempt;
    const lease = await this.#lease(attempt);
    const { worker, expectedPrefix } = lease;
    attempt.worker = worker.id;
    generation.tokensBefore = reply.tokens;
    let refused = false;
    try {
      sink.event({ type: 'started', worker: worker.id, expectedPrefix });
      await generation.run(worker);
    } catch (error) {
      if (error instanceof BadReply)
        throw new LMServError('generation_failed', `The worker ${error.message}`, { cause: error });
      if (!(error instanceof ChildRefusal)) throw error;
      // A worker that rejects a request is a healthy worker.
      refused = true;
      throw generation.refusal(error) ?? fromRefusal(error, attempt.request.body);
    } finally {
      lease.release(refused || reply.tokens > generation.tokensBefore || reply.finished, () => reply.text);
    }
  }
}

/** One reply and what running it requires, over all its attempts. */
interface Attempt {
  readonly request: GenerateRequest;
  readonly generation: Generation;
  readonly reader: ReplyReader;
  readonly reply: ReplySoFar;
  readonly context: GenerateContext;
  readonly sink: Sink;
  /** It had a worker and lost it, so it goes to the head of the queue. */
  again: boolean;
  /** The current or last worker. */
  worker?: string;
  /** Tells the pool that the reply needs no worker any more; absent before the first one. */
  end?: () => void;
}

/** llama.cpp's messages for a 400 contain no client text, so they are passed on, with the field that they are about. */
function fromRefusal(refusal: ChildRefusal, body: JsonObject): LMServError {
  const message = refusal.message.replace(NOT_THE_TEMPLATE, '').slice(0, MAX_MESSAGE);
  if (refusal.type === 'exceed_context_size_error') {
    const param = 'prompt' in body ? 'prompt' : 'messages';
    // LangChain, among others, recognises the error by these words of OpenAI's.
    const words = `The prompt is beyond the model's maximum context length: ${message}`;
    return new LMServError('context_length_exceeded', words, { param });
  }
  if (refusal.status >= 400 && refusal.status < 500) {
    const param = fieldOf(message, body);
    return new LMServError('invalid_value', param === undefined ? message : `${param}: ${message}`, {
      param,
    });
  }
  return new LMServError('generation_failed', 'The worker could not generate', { cause: refusal });
}

/** Fields of which llama.cpp makes a grammar. */
const OF_GRAMMARS = ['grammar', 'response_format', 'json_schema', 'tools'];

/** What llama.cpp puts before its reason for refusing a schema; the template is not to blame. */
const NOT_THE_TEMPLATE =
  /^Unable to generate parser for this template\. Automatic parser generation failed: (?=JSON schema)/;

function fieldOf(message: string, body: JsonObject): string | undefined {
  if (message.includes('invalid tokens')) return 'prompt';
  if (/grammar|JSON schema/.test(message)) return OF_GRAMMARS.find((field) => body[field] !== undefined);
  return /^Field '([\w.]+)'/.exec(message)?.[1];
}

function toFailure(failure: WorkerFailure, body: JsonObject): LMServError {
  return new LMServError('generation_failed', `The generation failed: ${failure.message}`, {
    cause: failure,
    stderr: scrub(failure.stderr, body),
  });
}

/** Removes paths and the client's text from a worker's stderr. */
function scrub(stderr: string, body: JsonObject): string {
  return withoutPaths(withoutPrompt(stderr, body));
}
