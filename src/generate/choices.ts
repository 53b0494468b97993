import type { GenerateEvent, Usage } from '../contract.js';

type Numbered = { readonly result: IteratorResult<GenerateEvent>; readonly index: number };

/**
 * Runs `n` generations at once and merges them into one stream: each event carries its choice's index, and the
 * usages become one, with the prompt counted once, as OpenAI does. When one fails, all are ended.
 */
export async function* mergeChoices(
  n: number,
  signal: AbortSignal,
  choice: (index: number, signal: AbortSignal) => AsyncGenerator<GenerateEvent>,
): AsyncGenerator<GenerateEvent> {
  const others = new AbortController();
  const ended = AbortSignal.any([signal, others.signal]);
  const iterators = Array.from({ length: n }, (_, index) => choice(index, ended));
  const next = (index: number): Promise<Numbered> =>
    iterators[index]!.next().then((result) => ({ result, index }));
  const pending = new Map(iterators.map((_, index) => [index, next(index)]));
  let usage: Usage | undefined;
  try {
    while (pending.size > 0) {
      const { result, index } = await Promise.race(pending.values());
      if (result.done) {
        pending.delete(index);
        continue;
      }
      pending.set(index, next(index));
      const event = result.value;
      if (event.type === 'usage') usage = addUsage(usage, event.usage);
      else yield event.type === 'prefill' ? event : { ...event, index };
    }
    if (usage) yield { type: 'usage', usage };
  } finally {
    // Those that still wait for a slot or a token would otherwise hold up the end.
    others.abort();
    for (const promise of pending.values()) promise.catch(() => undefined);
    await Promise.allSettled(iterators.map((iterator) => iterator.return(undefined)));
  }
}

function addUsage(sum: Usage | undefined, more: Usage): Usage {
  if (!sum) return more;
  return {
    promptTokens: sum.promptTokens,
    completionTokens: sum.completionTokens + more.completionTokens,
    cachedTokens: Math.max(sum.cachedTokens, more.cachedTokens),
  };
}
