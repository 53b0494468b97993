import type { Dispatcher } from 'undici';
import type {
  Backend,
  BackendStatus,
  Evaluation,
  EvaluationRequest,
  GenerateContext,
  GenerateRequest,
  JsonObject,
  ModelFacts,
  OpenReply,
  Sink,
} from '../../contract.js';
import { LMServError } from '../../errors.js';
import type { Logger } from '../../observe/logger.js';
import { BadReply } from '../../wire/bad-reply.js';
import { readEvaluation } from '../evaluation-reply.js';
import { toJson } from '../../wire/images.js';
import { InUse } from '../in-use.js';
import { opening } from '../opening.js';
import { withoutPrompt } from '../redact-prompt.js';
import { ReplyReader } from '../reply-reader.js';
import { withoutWorkers } from '../status.js';
import { Circuit, type Permit } from './circuit.js';
import { systemClock, wait, type Clock } from '../../time.js';
import {
  createDispatcher,
  isEncoded,
  drainAndRelease,
  END_MS,
  post,
  readEvents,
  readRefusal,
  readWhole,
  routeUrl,
  type Reply,
} from './connection.js';
import { broken, fromConnection, fromRefusal, RemoteFailure, type Provider } from './failure.js';
import type { RemoteOptions } from './options.js';
import { createRedactor } from './redact.js';
import { RejectedFields, withoutFields } from './rejected-fields.js';
import { parseChunk } from './parse-chunk.js';
import { remoteEvaluations, toRemoteRequest, type RemoteRequest } from './remote-request.js';
import { retryWait } from './retry-policy.js';
import { TimeLimit } from './time-limit.js';

/** Dependencies of a remote backend; tests pass in their own. */
export interface RemoteTools {
  readonly logger: Logger;
  readonly clock?: Clock;
  /** From 0 to 1, for jitter. */
  readonly random?: () => number;
  /** The connections; by default a pool of its own. */
  readonly dispatcher?: Dispatcher;
}

/** Max characters of a server's message that are examined; a client gets fewer. */
const MAX_WORDS = 16 * 1024;

/** What is asked of the server, through all attempts. */
interface Call {
  /** The client's text, which no error may quote. */
  readonly content: JsonObject;
  readonly url: URL;
  /** Without the fields that the server has rejected so far. */
  body: JsonObject;
  /** Rejected by the server during this call, to be remembered if it takes the request without them. */
  rejected: readonly string[];
  readonly context: GenerateContext;
  readonly sink: Sink;
  readonly began: number;
  /** The client's signal and the deadline for the whole reply. */
  readonly limit: TimeLimit;
  /** A token has been passed on, so there are no further attempts. */
  begun: boolean;
  readonly onBegun: () => void;
  readonly receive: Receive;
}

/** An answer of the server with a status of success. */
interface Answer {
  readonly reply: Reply;
  readonly provider: Provider;
  /** Of the attempt. */
  readonly limit: TimeLimit;
  /** Something has been passed on. */
  readonly onBegun: () => void;
}

/** Reads an answer, and returns what ends the reply once the attempt counts as a success. */
type Receive = (call: Call, answer: Answer) => Promise<() => void>;

/**
 * A model served by another server that speaks OpenAI's protocol. The reply is always streamed, and read only as fast
 * as the client reads. Failures before the first token are retried, with jitter and within a budget; a circuit breaker
 * keeps requests away from a server that keeps failing. Redirects are not followed, and no error or log line contains
 * a credential or a client's text.
 */
export class RemoteBackend implements Backend {
  readonly name: string;
  readonly #options: RemoteOptions;
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #dispatcher: Dispatcher;
  readonly #circuit: Circuit;
  readonly #redact: (text: string) => string;
  readonly #rejected = new RejectedFields();
  readonly #calls = new Set<Call>();
  readonly #inUse: InUse;
  #stopping = false;

  /** @throws TypeError when `baseUrl` is not a valid URL. */
  constructor(options: RemoteOptions, tools: RemoteTools) {
    routeUrl(options.baseUrl, '');
    this.name = options.name;
    this.#options = options;
    this.#logger = tools.logger;
    this.#clock = tools.clock ?? systemClock;
    this.#inUse = new InUse(this.#clock);
    this.#random = tools.random ?? Math.random;
    this.#dispatcher = tools.dispatcher ?? createDispatcher(options);
    this.#circuit = new Circuit(undefined, this.#random);
    this.#redact = createRedactor(options.apiKey ? [options.apiKey] : []);
  }

  /** Nothing to start: connections are opened on demand. */
  start(): void {}

  /** Zeros, because the server's workers are unknown; ready unless the circuit is open or the key is missing. */
  status(): BackendStatus {
    const usable = this.#keyProblem() === undefined && !this.#stopping;
    return withoutWorkers(usable && !this.#circuit.isOpen(this.#clock.now()));
  }

  /** Refuses new requests; running ones have `graceMs` milliseconds to finish, then they fail with `draining`. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    await this.#inUse.close(graceMs);
    for (const { limit } of this.#calls) limit.abort(new LMServError('draining'));
    // Not `close`: an undici agent that is closing forgets its connections, so they could no longer be ended.
    await this.#dispatcher.destroy();
  }

  /**
   * @throws LMServError `provider_rate_limited`, `provider_timeout`, `provider_api_error`, `configuration_error`,
   *   `context_length_exceeded`, `invalid_value`, `generation_failed` for a reply that broke off, `unavailable` while
   *   the circuit is open, `draining`; the signal's reason when it aborts.
   */
  open(request: GenerateRequest, context: GenerateContext, sink: Sink): Promise<OpenReply> {
    const wanted = () => ({ ...toRemoteRequest(request, this.#options), content: request.body });
    const receive: Receive = async (call, answer) => {
      const reader = new ReplyReader(request.body, sink, answer.onBegun, false);
      await this.#read(call, answer, reader);
      return () => reader.end();
    };
    return opening((begun) =>
      this.#inUse.during(() => this.#run(this.#call(wanted, receive, context, sink, begun))),
    );
  }

  /** @throws as `open`, and LMServError `invalid_response`. */
  evaluate(request: EvaluationRequest, context: GenerateContext, sink: Sink): Promise<Evaluation> {
    return this.#inUse.during(async () => {
      const vectors: ArrayLike<number>[] = [];
      let promptTokens = 0;
      for (const part of remoteEvaluations(request, this.#options)) {
        const receive: Receive = async (_, { reply, provider, onBegun }) => {
          const done = evaluationOf(request, await readWhole(reply, provider), part.count);
          onBegun();
          vectors.push(...done.vectors);
          promptTokens += done.promptTokens;
          return () => sink.event({ type: 'prefill', promptTokens });
        };
        await this.#run(this.#call(() => part, receive, context, sink)).catch(namingField(part.field));
      }
      return { vectors, promptTokens };
    });
  }

  facts(): ModelFacts {
    const { task = 'chat' } = this.#options;
    return { capabilities: task === 'chat' ? ['chat', 'completion'] : [task] };
  }

  async #run(call: Call): Promise<void> {
    this.#calls.add(call);
    try {
      for (let failures = 1; ;) {
        const failure = await this.#tried(call);
        if (failure === undefined) return;
        if (!this.#leaveOut(call, failure)) {
          await this.#waitToRetry(call, failure, failures);
          failures += 1;
        }
        call.sink.event({ type: 'retry', resumed: false });
      }
    } catch (thrown) {
      throw thrown instanceof RemoteFailure ? thrown.error : thrown;
    } finally {
      call.limit.end();
      this.#calls.delete(call);
    }
  }

  #checkUsable(): void {
    const problem = this.#keyProblem();
    if (problem !== undefined) {
      throw new LMServError('configuration_error', `The provider ${this.name} ${problem}`);
    }
  }

  #keyProblem(): string | undefined {
    const { apiKey, apiKeyEnv } = this.#options;
    if (!apiKey) return apiKeyEnv === undefined ? undefined : `has no key: ${apiKeyEnv} is not set`;
    return /^[\x21-\x7e]+$/.test(apiKey)
      ? undefined
      : 'has a key with characters that an HTTP header cannot contain';
  }

  /** @throws LMServError `configuration_error` */
  #call(
    wanted: () => RemoteRequest & { readonly content: JsonObject },
    receive: Receive,
    context: GenerateContext,
    sink: Sink,
    onBegun = () => {},
  ): Call {
    this.#checkUsable();
    const { route, body, content } = wanted();
    const limit = new TimeLimit(this.#clock, context.signal);
    const call: Call = {
      content,
      url: routeUrl(this.#options.baseUrl, route),
      body: this.#rejected.without(body, this.#clock.now()),
      rejected: [],
      context,
      sink,
      began: this.#clock.now(),
      limit,
      begun: false,
      ...{ onBegun, receive },
    };
    const { totalMs } = this.#options.timeouts;
    // A server that is still streaming when the time is up is slow, not down.
    limit.arm(totalMs, () => this.#timedOut(totalMs, 'did not finish its reply', !call.begun));
    return call;
  }

  /** Makes one attempt. Returns a failure after which there may be another and throws any other. */
  async #tried(call: Call): Promise<RemoteFailure | undefined> {
    try {
      await this.#attempt(call);
      return undefined;
    } catch (thrown) {
      if (!(thrown instanceof RemoteFailure)) throw thrown;
      this.#log(thrown.error, call.context.requestId);
      if (call.begun || !(thrown.retry || thrown.rejection?.dispensable)) throw thrown;
      return thrown;
    }
  }

  /** An open circuit is not logged; only the client learns of it. */
  #log(error: LMServError, requestId: string): void {
    const { code, providerStatus, message: reason, status } = error;
    if (code === 'unavailable') return;
    const cause = (error.cause as Error | undefined)?.message;
    const line = { requestId, backend: this.name, code, providerStatus, reason, cause };
    if (status === 400)
      this.#logger.info({ event: 'provider_refusal', ...line }, 'a provider refused a request');
    else this.#logger.warn({ event: 'provider_failure', ...line }, 'a request to a provider failed');
  }

  /** Takes the fields that the server rejects, and that constrain nothing, out of the request. */
  #leaveOut(call: Call, { rejection }: RemoteFailure): boolean {
    if (!rejection?.dispensable) return false;
    call.body = withoutFields(call.body, rejection.fields);
    if (rejection.lasting) call.rejected = [...call.rejected, ...rejection.fields];
    return true;
  }

  /** The server has taken the request without these fields. */
  #remember(fields: readonly string[], requestId: string): void {
    const added = fields.filter((field) => this.#rejected.add(field, this.#clock.now()));
    if (added.length === 0) return;
    this.#logger.warn(
      { event: 'provider_fields_rejected', requestId, backend: this.name, fields: added },
      'a provider rejects fields, which it is not sent for an hour',
    );
  }

  /** The provider for the errors of one attempt. */
  #provider({ content, body }: Call): Provider {
    return {
      name: this.name,
      sent: body,
      hasKey: Boolean(this.#options.apiKey),
      clean: (text) => withoutPrompt(this.#redact(text.slice(0, MAX_WORDS)), content),
    };
  }

  /** @throws the failure if it should not be retried. */
  async #waitToRetry(call: Call, failure: RemoteFailure, failures: number): Promise<void> {
    // The server is only busy and another may be idle, so waiting for this one is pointless.
    if (call.context.mayFallBack && !failure.unhealthy) throw failure;
    const attempted = {
      failures,
      elapsedMs: this.#clock.now() - call.began,
      retryAfterMs: failure.retryAfterMs,
    };
    const ms = retryWait(attempted, this.#options.retries, this.#random);
    if (ms === undefined || this.#circuit.isOpen(this.#clock.now())) throw failure;
    await wait(this.#clock, ms, call.limit.signal);
  }

  /** Asks the circuit before the exchange and reports its outcome after it. */
  async #attempt(call: Call): Promise<void> {
    const permit = this.#circuit.enter(this.#clock.now());
    if (!permit) throw this.#circuitOpen();
    const { requestId } = call.context;
    if (permit.probe)
      this.#logger.debug(
        { event: 'circuit_probe', requestId, backend: this.name },
        'a request tests a provider',
      );
    const limit = new TimeLimit(this.#clock, call.limit.signal);
    let settle = () => this.#circuit.onCancelled(permit);
    const onBegun = () => {
      call.begun = true;
      this.#circuit.onFirstToken(permit);
      this.#remember(call.rejected, requestId);
      call.onBegun();
    };
    let end: () => void;
    try {
      end = await this.#exchange(call, limit, onBegun);
      settle = () => this.#circuit.onSuccess(permit);
    } catch (thrown) {
      if (thrown instanceof RemoteFailure) {
        settle = () => (thrown.unhealthy ? this.#failed(permit, requestId) : this.#circuit.onSuccess(permit));
      }
      throw thrown;
    } finally {
      limit.end();
      settle();
    }
    end();
  }

  #failed(permit: Permit, requestId: string): void {
    const ms = this.#circuit.onFailure(permit, this.#clock.now());
    if (ms === undefined) return;
    this.#logger.warn(
      { event: 'circuit_open', requestId, backend: this.name, ms: Math.round(ms) },
      'a provider keeps failing',
    );
  }

  async #exchange(call: Call, limit: TimeLimit, onBegun: () => void): Promise<() => void> {
    let answered = false;
    const provider = this.#provider(call);
    try {
      this.#armFirstToken(limit);
      const reply = await post(this.#dispatcher, {
        url: call.url,
        json: toJson(call.body),
        apiKey: this.#options.apiKey,
        fresh: this.#options.kind === 'llama',
        signal: limit.signal,
      });
      answered = true;
      // Frameworks that answer each POST with 201 serve models too.
      if (reply.statusCode < 200 || reply.statusCode > 299)
        throw fromRefusal(provider, await readRefusal(reply));
      if (isEncoded(reply)) throw this.#encoded(reply);
      return await call.receive(call, { reply, provider, limit, onBegun });
    } catch (thrown) {
      // A disconnected client, or the timeout that ended the exchange, explains more than the resulting error.
      limit.signal.throwIfAborted();
      if (thrown instanceof RemoteFailure) throw thrown;
      if (thrown instanceof BadReply)
        throw broken(`The provider ${this.name} ${provider.clean(thrown.message)}`);
      throw fromConnection(provider, thrown, answered);
    }
  }

  async #read(call: Call, { reply, provider, limit }: Answer, reader: ReplyReader): Promise<void> {
    let ended = false;
    let regular = false;
    try {
      regular = await readEvents(reply, {
        flow: call.context.flow,
        onData: (data, event) => {
          const { ended } = reader;
          reader.chunk(parseChunk(provider, data, event));
          // If the event filled the client's buffers, the deadline does not run. Nothing extends the time after the end.
          if (!call.context.flow.held && !ended) this.#armNext(limit, reader);
        },
        onHeld: (held) => (held ? limit.disarm() : this.#armNext(limit, reader)),
      });
      ended = true;
    } catch (thrown) {
      // The text is complete: a failure while only the usage is missing does not invalidate it.
      if (!reader.finished || call.limit.signal.aborted) throw thrown;
    } finally {
      limit.disarm();
      if (ended) drainAndRelease(reply);
      else reply.body.destroy();
    }
    reader.checkFinished(regular);
  }

  /** Compressed replies are refused, because a few bytes can expand to gigabytes. */
  #encoded(reply: Reply): RemoteFailure {
    reply.body.destroy();
    return broken(`The provider ${this.name} compressed its reply, although it was told not to`);
  }

  #armFirstToken(limit: TimeLimit): void {
    limit.arm(this.#options.timeouts.firstTokenMs, this.#noFirstToken);
  }

  #armNext(limit: TimeLimit, reader: ReplyReader): void {
    if (reader.ended) limit.arm(END_MS, this.#noEnd);
    else if (reader.begun) limit.arm(this.#options.timeouts.tokenMs, this.#noNextToken);
    else this.#armFirstToken(limit);
  }

  readonly #noFirstToken = () => this.#timedOut(this.#options.timeouts.firstTokenMs, 'sent no token');

  readonly #noEnd = () => this.#timedOut(END_MS, 'did not end its reply');

  readonly #noNextToken = () => this.#timedOut(this.#options.timeouts.tokenMs, 'sent no further token');

  #timedOut(ms: number, what: string, unhealthy = true): RemoteFailure {
    const message = `The provider ${this.name} ${what} in ${ms / 1000} s`;
    return new RemoteFailure(new LMServError('provider_timeout', message), true, unhealthy);
  }

  #circuitOpen(): RemoteFailure {
    const retryAfter = Math.max(1, Math.ceil(this.#circuit.waitMs(this.#clock.now()) / 1000));
    const message = `The provider ${this.name} keeps failing and is left alone for a while`;
    return new RemoteFailure(new LMServError('unavailable', message, { retryAfter }), false, false);
  }
}

/** @throws BadReply; RemoteFailure for numbers that are not finite, which the connection did not cause. */
function evaluationOf({ task }: EvaluationRequest, answer: unknown, count: number): Evaluation {
  try {
    return readEvaluation(task, answer, count);
  } catch (error) {
    throw error instanceof LMServError ? new RemoteFailure(error, false, false) : error;
  }
}

/** Errors about the length of a prompt name the field of a chat. */
function namingField(field: string): (error: unknown) => never {
  return (error) => {
    if (!(error instanceof LMServError) || error.param !== 'messages') throw error;
    const { code, message, providerStatus, cause } = error;
    throw new LMServError(code, message, { param: field, providerStatus, cause });
  };
}
