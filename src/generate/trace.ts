import type { GenerateEvent, ReplyEvent, RequestScope, Sink, Trace } from '../contract.js';
import { LMServError } from '../errors.js';
import { GapCounter } from '../observe/token-gaps.js';

/** An empty trace. */
export function newTrace(): Trace {
  return { promptTokens: 0, completionTokens: 0, cachedTokens: 0, attempts: 1 };
}

/** Writes a line of the log. */
export type Log = (facts: Record<string, unknown>, message: string) => void;

/** The log message for each step. */
const STEPS = {
  attempt: 'trying a backend',
  model: 'the model is known',
  queued: 'waiting for a slot',
  loading: 'waiting for the model to load',
  dequeued: 'no longer waiting for a slot',
  started: 'a worker has the request',
  retry: 'the backend retries',
  unparsed: 'the reply does not have the form of its chat template and is passed on as text',
  slip: 'the model slipped in the arguments of a call',
  repair: 'the rest of the arguments was written again under a grammar',
} as const;

/** Writes the trace of one generation from its events, and passes on the events of the reply. */
export class Tracer implements Sink {
  readonly #trace: Trace;
  readonly #abort: (reason: unknown) => void;
  readonly #onWait: RequestScope['onWait'];
  readonly #sink: Sink<ReplyEvent>;
  readonly #log: Log;
  readonly #began = performance.now();
  readonly #gaps = new GapCounter();
  #firstTokenAt: number | undefined;
  /** Choices that are waiting for a slot. */
  #waiting = 0;
  #waitingSince = 0;

  /** @param log called for each step and at the end. */
  constructor(
    { trace, abort, onWait }: Pick<RequestScope, 'trace' | 'abort' | 'onWait'>,
    sink: Sink<ReplyEvent>,
    log: Log = () => undefined,
  ) {
    this.#trace = trace;
    this.#abort = abort;
    this.#onWait = onWait;
    this.#sink = sink;
    this.#log = log;
    trace.tokenGaps = this.#gaps;
  }

  event(event: GenerateEvent): void {
    switch (event.type) {
      case 'text':
      case 'reasoning':
      case 'tool_call':
        this.#token(event.index);
        break;
      case 'prefill':
        this.#trace.promptTokens = event.promptTokens;
        break;
      case 'finish':
        this.#trace.finishReason = event.reason;
        break;
      case 'usage':
        this.#trace.promptTokens = event.usage.promptTokens;
        this.#trace.completionTokens = event.usage.completionTokens;
        this.#trace.cachedTokens = event.usage.cachedTokens;
        break;
      default:
        return this.#progress(event);
    }
    try {
      this.#sink.event(event);
    } catch (error) {
      // Not a backend failure: nothing must be retried.
      this.#abort(error);
      throw error;
    }
  }

  /** The generation is over; `error` is what ended it early. */
  end(error?: unknown): void {
    if (this.#firstTokenAt !== undefined) this.#trace.decodeMs = performance.now() - this.#firstTokenAt;
    const { finishReason, promptTokens, cachedTokens, completionTokens, firstTokenMs, decodeMs } =
      this.#trace;
    const code = error instanceof LMServError ? error.code : (error as Error | undefined)?.name;
    const tokens = { promptTokens, cachedTokens, completionTokens };
    const facts = { finishReason, ...tokens, firstTokenMs, decodeMs, error: code };
    this.#log({ event: 'generation_end', ...facts }, 'the generation has ended');
  }

  #token(index: number): void {
    const now = performance.now();
    this.#trace.completionTokens += 1;
    this.#gaps.note(index, now);
    if (this.#firstTokenAt !== undefined) return;
    this.#firstTokenAt = now;
    this.#trace.firstTokenMs = now - this.#began;
  }

  #progress(event: Exclude<GenerateEvent, ReplyEvent>): void {
    const trace = this.#trace;
    switch (event.type) {
      case 'attempt':
        trace.model = event.model;
        trace.backend = event.backend;
        if (event.again) trace.attempts += 1;
        break;
      case 'model':
        trace.modelState ??= event.state;
        break;
      case 'loading':
        this.#onWait?.(event);
        break;
      case 'queued':
        trace.queuePosition ??= event.position;
        this.#onWait?.(event);
        if (this.#waiting === 0) this.#waitingSince = performance.now();
        this.#waiting += 1;
        break;
      case 'dequeued':
        this.#waiting -= 1;
        if (this.#waiting === 0)
          trace.queueMs = (trace.queueMs ?? 0) + performance.now() - this.#waitingSince;
        break;
      case 'started':
        trace.worker = event.worker;
        trace.queueMs ??= 0;
        break;
      case 'retry':
        trace.attempts += 1;
        if (event.resumed) trace.resumes = (trace.resumes ?? 0) + 1;
        break;
      case 'unparsed':
        trace.unparsed = true;
        break;
      case 'repair':
        if (event.repaired) trace.repairs = (trace.repairs ?? 0) + 1;
    }
    const { type, ...facts } = event;
    this.#log({ event: `generation_${type}`, ...facts }, STEPS[type]);
  }
}
