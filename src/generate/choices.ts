import type { GenerateEvent, Sink, Usage } from '../contract.js';

/**
 * Runs `n` generations at once into one sink: each event carries the index of its choice, and their usages become one,
 * with the prompt counted once, as OpenAI does. If one fails, `abort` ends the others.
 *
 * @throws the error of the first one that fails, once all have ended.
 */
export async function runChoices(
  n: number,
  abort: (reason: unknown) => void,
  sink: Sink,
  choice: (index: number, sink: Sink) => Promise<void>,
): Promise<void> {
  let usage: Usage | undefined;
  let failure: { readonly reason: unknown } | undefined;
  const run = async (index: number): Promise<void> => {
    try {
      await choice(index, {
        event: (event) => {
          if (event.type === 'usage') usage = addUsage(usage, event.usage);
          else sink.event(labelled(event, index));
        },
      });
    } catch (reason) {
      failure ??= { reason };
      abort(reason);
    }
  };
  await Promise.all(Array.from({ length: n }, (_, index) => run(index)));
  if (failure) throw failure.reason;
  if (usage) sink.event({ type: 'usage', usage });
}

function labelled(event: GenerateEvent, index: number): GenerateEvent {
  return 'index' in event ? { ...event, index } : event;
}

function addUsage(sum: Usage | undefined, more: Usage): Usage {
  if (!sum) return more;
  return {
    promptTokens: sum.promptTokens,
    completionTokens: sum.completionTokens + more.completionTokens,
    cachedTokens: Math.max(sum.cachedTokens, more.cachedTokens),
  };
}
