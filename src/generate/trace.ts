import type { GenerateEvent, Trace } from '../contract.js';
import { GapCounter } from '../observe/token-gaps.js';

/** A trace in which nothing has happened yet. */
export function newTrace(): Trace {
  return { promptTokens: 0, completionTokens: 0, cachedTokens: 0, attempts: 1 };
}

/** Hands the events through and notes in the trace when the first token came, how many there were and how it ended. */
export async function* traced(
  events: AsyncIterable<GenerateEvent>,
  trace: Trace,
): AsyncGenerator<GenerateEvent> {
  const began = performance.now();
  const gaps = (trace.tokenGaps = new GapCounter());
  let first: number | undefined;
  try {
    for await (const event of events) {
      switch (event.type) {
        case 'prefill':
          trace.promptTokens = event.promptTokens;
          break;
        case 'finish':
          trace.finishReason = event.reason;
          break;
        case 'usage':
          trace.promptTokens = event.usage.promptTokens;
          trace.completionTokens = event.usage.completionTokens;
          trace.cachedTokens = event.usage.cachedTokens;
          break;
        default:
          trace.completionTokens += 1;
          gaps.note(event.index, performance.now());
          if (first === undefined) {
            first = performance.now();
            trace.firstTokenMs = first - began;
          }
      }
      yield event;
    }
  } finally {
    if (first !== undefined) trace.decodeMs = performance.now() - first;
  }
}
