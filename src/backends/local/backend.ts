import { setMaxListeners } from 'node:events';
import PQueue from 'p-queue';
import type {
  Backend,
  BackendStatus,
  Evaluation,
  EvaluationRequest,
  GenerateContext,
  GenerateRequest,
  Json,
  JsonObject,
  ModelFacts,
  ModelTask,
  OpenReply,
  Sink,
  TokenQuestion,
  WorkerInfo,
} from '../../contract.js';
import { LMServError } from '../../errors.js';
import { runInTurn } from '../../in-turn.js';
import { hasBegun } from '../../pool/fair-queue.js';
import type { Lease, LeaseOptions, Pool } from '../../pool/pool.js';
import type { Logger } from '../../observe/logger.js';
import { withoutPaths } from '../../../workers/stderr-tail.js';
import { ChildRefusal } from '../../../workers/child-http.js';
import { WorkerFailure } from '../../../workers/failure.js';
import type { Worker } from '../../../workers/worker.js';
import { requireImages } from './child-request.js';
import { cut, cutBody, MAX_MESSAGE, partRefusal, partsOf, singlesOf, type Part } from './evaluation.js';
import { Generation, type GenerationOptions } from './generation.js';
import { ReplySoFar } from './reply-so-far.js';
import { refuseSpecialTokens } from './special-tokens.js';
import { answerTokens } from './tokens.js';
import { templateRefusal } from './shaping/template-error.js';
import { Template } from './shaping/template.js';
import { ToolOrder } from './tool-order.js';
import { BadReply } from '../../wire/bad-reply.js';
import { hasImage } from '../../wire/images.js';
import { readEvaluation } from '../evaluation-reply.js';
import { InUse } from '../in-use.js';
import { opening } from '../opening.js';
import { withoutPrompt } from '../redact-prompt.js';
import { ReplyReader } from '../reply-reader.js';
import { workerInfo } from './worker-info.js';

/** Max retries of a request whose worker failed before the first token. */
const RETRIES = 1;

/** Max resumes of a reply; one that meets more failures is probably their cause. */
const RESUMES = 8;

/** Max inputs of one request that are evaluated or wait for a slot at a time; the others follow. */
const MAX_AT_ONCE = 32;

/** Interval between reports to a client that waits for a load, milliseconds. */
const LOADING_MS = 1_000;

/** Lines of a worker's stderr logged with a failure. */
const LOG_LINES = 4;

export interface LocalOptions extends GenerationOptions {
  /** What its file tells, until a worker has told more. */
  readonly facts?: ModelFacts;
  /** Default: `chat`. */
  readonly task?: ModelTask;
  /** Its embeddings may be cut to fewer numbers. */
  readonly matryoshka?: boolean | undefined;
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
  readonly #toolOrder = new ToolOrder();
  /** One question about tokens at a time: workers render and tokenise beside their replies. */
  readonly #questions = new PQueue({ concurrency: 1 });

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
    // Only a chat model has a template, and some others cannot write even a token.
    if ((this.#options.task ?? 'chat') !== 'chat') return;
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
    const ordered = this.#ordered(request, context);
    return opening((begun) => this.#inUse.during(() => this.#run(ordered, context, sink, begun)));
  }

  /** The request with its tools in the order that the prefix cache has them in. */
  #ordered(request: GenerateRequest, { caller, requestId }: GenerateContext): GenerateRequest {
    if (this.#options.promptCache === false) return request;
    const body = this.#toolOrder.keep(request.body, caller);
    if (body === request.body) return request;
    const line = { event: 'tools_ordered', requestId, model: this.name };
    this.#logger.debug(line, 'the tools keep the order of the conversation so far');
    return { ...request, body };
  }

  /**
   * Evaluates each input in a slot of its own, so that a long list takes turns with the requests of other callers. An input
   * whose worker fails is evaluated by another one.
   */
  evaluate(request: EvaluationRequest, context: GenerateContext, sink: Sink): Promise<Evaluation> {
    return this.#inUse.during(() => this.#evaluate(request, context, sink));
  }

  async load(signal: AbortSignal): Promise<void> {
    await this.#inUse.during(() => this.#readyWorker(signal));
  }

  /** Asks a ready worker, beside its replies: a question takes no slot. */
  askTokens(question: TokenQuestion, signal: AbortSignal): Promise<Json> {
    return this.#inUse.during(() => this.#questions.add(() => this.#answer(question, signal), { signal }));
  }

  async #evaluate(request: EvaluationRequest, context: GenerateContext, sink: Sink): Promise<Evaluation> {
    sink.event({ type: 'model', state: this.#pool.state });
    const parts = partsOf(request, this.#options.facts?.contextLength ?? 0);
    const failed = new AbortController();
    const signal = AbortSignal.any([context.signal, failed.signal]);
    setMaxListeners(0, signal);
    const shared = parts.length > 1 ? { ...context, signal, slots: { held: 0 } } : { ...context, signal };
    const vectors: ArrayLike<number>[] = [];
    let promptTokens = 0;
    const run = async (part: Part): Promise<void> => {
      // Once one has a slot, the others may wait for theirs.
      const mayFallBack = context.mayFallBack === true && !hasBegun(shared.slots);
      const turn: Turn = {
        request: { priority: request.priority, body: { prompt: [...part.prompts] } },
        context: { ...shared, mayFallBack },
        ...{ sink, again: false },
      };
      const done = await this.#evaluatePart(part, request.task, turn).finally(() => turn.end?.());
      for (const [offset, vector] of done.vectors.entries())
        vectors[part.first + offset] = this.#sized(vector, request);
      promptTokens += done.promptTokens;
      sink.event({ type: 'prefill', promptTokens });
    };
    const runPart = (index: number): Promise<void> =>
      run(parts[index]!).catch(async (error: unknown) => {
        if (!(error instanceof ChildRefusal)) throw error;
        // One of its inputs is to blame, and the others should not be refused in its name.
        for (const single of singlesOf(request, parts[index]!)) await run(single);
      });
    await runInTurn(parts.length, MAX_AT_ONCE, runPart, (reason) => failed.abort(reason));
    return { vectors, promptTokens };
  }

  async #evaluatePart(part: Part, task: EvaluationRequest['task'], turn: Turn): Promise<Evaluation> {
    for (let failures = 0, reached = 0; ; failures += 1) {
      try {
        return await this.#evaluateOnce(part, task, turn);
      } catch (error) {
        if (!(error instanceof WorkerFailure)) throw error;
        this.#logFailure(error, turn, 0);
        if (!error.unreached) reached += 1;
        if (reached > RETRIES || failures === RESUMES) throw this.#finalFailure(error, turn);
        this.#noteNextAttempt(turn, false);
      }
    }
  }

  /** @throws ChildRefusal if the part has several inputs; otherwise as an LMServError. */
  async #evaluateOnce(part: Part, task: EvaluationRequest['task'], turn: Turn): Promise<Evaluation> {
    const { signal } = turn.context;
    const lease = await this.#lease(turn);
    const { worker, expectedPrefix } = lease;
    turn.worker = worker.id;
    let served = false;
    try {
      turn.sink.event({ type: 'started', worker: worker.id, expectedPrefix });
      if (this.#options.rejectSpecialTokens === true) await refuseSpecialInputs(part, worker, signal);
      const reply = await evaluateBy(worker, part, signal);
      served = true;
      return readEvaluation(task, reply, part.prompts.length);
    } catch (error) {
      if (error instanceof BadReply) throw badReply(error);
      if (!(error instanceof ChildRefusal)) throw error;
      served = true;
      throw part.prompts.length > 1 ? error : partRefusal(error, part);
    } finally {
      lease.release(served);
    }
  }

  /** @throws LMServError `invalid_value` if the vector cannot have that size. */
  #sized(vector: ArrayLike<number>, request: EvaluationRequest): ArrayLike<number> {
    const { dimensions = vector.length } = request.task === 'embed' ? request : {};
    if (dimensions === vector.length) return vector;
    const isPossible = this.#options.matryoshka === true && dimensions < vector.length;
    if (isPossible) return cut(vector, dimensions);
    const message = `dimensions: the embeddings of this model have ${vector.length} numbers`;
    const hint = dimensions < vector.length ? ' and are not cut; see matryoshka in the configuration' : '';
    throw new LMServError('invalid_value', message + hint, { param: 'dimensions' });
  }

  async #answer(question: TokenQuestion, signal: AbortSignal): Promise<Json> {
    const body = question.about === 'prompt' ? question.request.body : {};
    this.#requireImages(body);
    const worker = await this.#readyWorker(signal);
    const template = this.#options.messageShaping === true ? this.#template : undefined;
    try {
      return await answerTokens(question, worker, template, signal);
    } catch (error) {
      if (error instanceof WorkerFailure) throw new LMServError('unavailable', undefined, { cause: error });
      if (!(error instanceof ChildRefusal)) throw error;
      throw templateRefusal(error) ?? fromRefusal(error, body);
    }
  }

  /** Takes no slot; only a model that is unloaded is waited for in the queue, and loaded by that. */
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
    const { reply, reader } = attempt;
    let idleFailures = 0;
    for (let failures = 0; ; failures += 1) {
      const before = reply.tokens;
      try {
        await this.#attempt(attempt);
        break;
      } catch (error) {
        if (!(error instanceof WorkerFailure)) throw error;
        this.#logFailure(error, attempt, reply.tokens);
        if (reply.finished) break;
        if (reply.full) {
          reader.event({ type: 'finish', index: 0, reason: 'length' });
          break;
        }
        if (reply.tokens > before) idleFailures = 0;
        else if (!error.unreached) idleFailures += 1;
        if (idleFailures > RETRIES || failures === RESUMES || !this.#mayContinue(reply))
          throw this.#finalFailure(error, attempt);
        this.#noteNextAttempt(attempt, reply.begun);
      }
    }
  }

  #finalFailure(error: WorkerFailure, { request: { body } }: Turn): LMServError {
    return this.#pool.refuses(body)
      ? new LMServError('prompt_quarantined', undefined, { cause: error })
      : toFailure(error, body);
  }

  /** Before a wait for a slot, or for the model to load. @throws LMServError `invalid_value`. */
  #requireImages(body: JsonObject): void {
    const worker = this.#pool.workers().find(({ state }) => state === 'ready');
    requireImages(body, worker?.supportsImages ?? this.facts().capabilities.includes('images'), this.name);
  }

  #noteNextAttempt(turn: Turn, begun: boolean): void {
    turn.again = true;
    turn.sink.event({ type: 'retry', resumed: begun });
    if (begun) this.#options.observer?.resumed({ model: this.name });
    else this.#options.observer?.retried({ model: this.name });
  }

  #mayContinue(reply: ReplySoFar): boolean {
    return !reply.begun || (this.#options.resume === true && reply.resumable);
  }

  #leaseOptions({ request, context, sink, again }: Turn, onWait: () => void): LeaseOptions {
    const { caller, mayFallBack, slots } = context;
    const { priority = 0, body } = request;
    const common = {
      caller: caller.address ?? caller.name,
      client: caller,
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

  #logFailure(error: WorkerFailure, { request, context, worker }: Turn, tokens: number): void {
    const { kind, exit, stderr } = error;
    const line = {
      event: 'worker_failed_request',
      requestId: context.requestId,
      worker,
      kind,
      ...exit?.status,
      tokens,
      stderr: scrub(stderr, request.body).split('\n').slice(-LOG_LINES),
    };
    this.#logger.warn(line, 'a worker failed while it served a request');
  }

  async #lease(turn: Turn): Promise<Lease> {
    let reports: NodeJS.Timeout | undefined;
    let waited = false;
    const onWait = () => {
      waited = true;
      reports = this.#reportLoad(turn.sink);
    };
    try {
      const lease = await this.#pool.lease(turn.context.signal, this.#leaseOptions(turn, onWait));
      turn.end ??= this.#pool.use();
      return lease;
    } finally {
      clearInterval(reports);
      if (waited) turn.sink.event({ type: 'dequeued' });
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
    const { reply, reader, generation, sink } = attempt;
    const lease = await this.#lease(attempt);
    const { worker, expectedPrefix, departure, slot } = lease;
    attempt.worker = worker.id;
    generation.tokensBefore = reply.tokens;
    let refused = false;
    try {
      sink.event({ type: 'started', worker: worker.id, expectedPrefix, departure });
      await generation.run(worker, slot);
    } catch (error) {
      if (error instanceof BadReply) throw badReply(error);
      if (!(error instanceof ChildRefusal)) throw error;
      // A worker that rejects a request is a healthy worker.
      refused = true;
      throw generation.refusal(error) ?? fromRefusal(error, attempt.request.body);
    } finally {
      const served = refused || reply.tokens > generation.tokensBefore || reply.finished;
      // An image is many tokens and few characters.
      const isTold = !attempt.again && !hasImage(attempt.request.body);
      const cached = isTold ? reader.cachedShare : undefined;
      lease.release(served, () => reply.text, generation.evaluated && !refused ? { cached } : undefined);
    }
  }
}

/** What needs a slot, over all its attempts. */
interface Turn {
  readonly request: Pick<GenerateRequest, 'priority' | 'body'>;
  readonly context: GenerateContext;
  readonly sink: Sink;
  /** It had a worker and lost it, so it goes to the head of the queue. */
  again: boolean;
  /** The current or last worker. */
  worker?: string;
  /** Tells the pool that the reply needs no worker any more; absent before the first one. */
  end?: () => void;
}

/** One reply and what running it requires. */
interface Attempt extends Turn {
  readonly request: GenerateRequest;
  readonly generation: Generation;
  readonly reader: ReplyReader;
  readonly reply: ReplySoFar;
}

/** @throws LMServError that names the input; as `Worker.fetch`. */
async function refuseSpecialInputs(
  { prompts, params }: Part,
  worker: Worker,
  signal: AbortSignal,
): Promise<void> {
  for (const [index, prompt] of prompts.entries())
    await refuseSpecialTokens(
      { prompt },
      (path, body) => worker.fetch('POST', path, body, signal),
      params[index],
    );
}

/** A text that may be cut is put to the worker once more if it is too long. */
async function evaluateBy(worker: Worker, part: Part, signal: AbortSignal): Promise<unknown> {
  try {
    return await worker.evaluate(part.path, part.body, signal);
  } catch (error) {
    if (!(error instanceof ChildRefusal)) throw error;
    // It may take as long as the text itself did.
    const body = await cutBody(part, error, (path, asked) => worker.evaluate(path, asked, signal));
    if (!body) throw error;
    return worker.evaluate(part.path, body, signal);
  }
}

function badReply(error: BadReply): LMServError {
  return new LMServError('generation_failed', `The worker ${error.message}`, { cause: error });
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
