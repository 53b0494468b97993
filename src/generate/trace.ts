import type { GenerateEvent, ReplyEvent, Sink, Trace } from '../contract.js';
import { GapCounter } from '../observe/token-gaps.js';

/** A trace in which nothing has happened yet. */
export function newTrace(): Trace {
  return { promptTokens: 0, completionTokens: 0, cachedTokens: 0, attempts: 1 };
}

/** Writes the trace of one generation from its events, and passes on those that belong to the reply. */
export class Tracer implements Sink {
  readonly #trace: Trace;
  readonly #sink: Sink<ReplyEvent>;
  readonly #began = performance.now();
  readonly #gaps = new GapCounter();
  #firstTokenAt: number | undefined;
  /** Choices that wait for a slot now. */
  #waiting = 0;
  #waitingSince = 0;

  constructor(trace: Trace, sink: Sink<ReplyEvent>) {
    this.#trace = trace;
    this.#sink = sink;
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
    this.#sink.event(event);
  }

  /** The generation is over, however it ended. */
  end(): void {
    if (this.#firstTokenAt !== undefined) this.#trace.decodeMs = performance.now() - this.#firstTokenAt;
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
      case 'queued':
        trace.queuePosition ??= event.position;
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
    }
  }
}
