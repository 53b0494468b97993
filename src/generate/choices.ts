import type { GenerateEvent, Sink, Usage } from '../contract.js';
import { runInTurn } from '../in-turn.js';

/** Max choices of one request that run or wait for a slot at a time; the others follow. */
const MAX_AT_ONCE = 16;

/**
 * Runs `n` generations into one sink: each event carries the index of its choice, and their usages become one, with each
 * prompt counted once, as OpenAI does. If one fails, `abort` ends the others.
 *
 * @param each number of choices of one prompt.
 * @throws the error of the first one that fails, once all have ended.
 */
export async function runChoices(
  n: number,
  abort: (reason: unknown) => void,
  sink: Sink,
  choice: (index: number, sink: Sink) => Promise<void>,
  each = n,
): Promise<void> {
  const prefilled: number[] = [];
  const usages: Usage[] = [];
  const run = (index: number): Promise<void> => {
    const prompt = Math.floor(index / each);
    return choice(index, {
      event: (event) => {
        if (event.type === 'usage') usages[prompt] = addChoice(usages[prompt], event.usage);
        else if (event.type === 'prefill') {
          prefilled[prompt] = event.promptTokens;
          sink.event({ type: 'prefill', promptTokens: prefilled.reduce((sum, tokens) => sum + tokens) });
        } else sink.event(labelled(event, index));
      },
    });
  };
  await runInTurn(n, MAX_AT_ONCE, run, abort);
  if (usages.length > 0) sink.event({ type: 'usage', usage: usages.reduce(addPrompt) });
}

function labelled(event: GenerateEvent, index: number): GenerateEvent {
  return 'index' in event ? { ...event, index } : event;
}

/** Adds the usage of another choice of the same prompt. */
function addChoice(sum: Usage | undefined, more: Usage): Usage {
  if (!sum) return more;
  const { promptTokens } = sum;
  return {
    ...addPrompt(sum, more),
    promptTokens,
    cachedTokens: Math.max(sum.cachedTokens, more.cachedTokens),
  };
}

/** Adds the usage of another prompt. */
function addPrompt(sum: Usage, more: Usage): Usage {
  return {
    promptTokens: sum.promptTokens + more.promptTokens,
    completionTokens: sum.completionTokens + more.completionTokens,
    cachedTokens: sum.cachedTokens + more.cachedTokens,
  };
}
