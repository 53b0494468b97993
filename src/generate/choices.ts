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
  const arrived = new Arrived();
  const ask = (index: number) => arrived.add(index, iterators[index]!.next());
  let usage: Usage | undefined;
  try {
    iterators.forEach((_, index) => ask(index));
    for (let running = n; running > 0;) {
      const { result, index } = await arrived.next();
      if (result.done) {
        running -= 1;
        continue;
      }
      ask(index);
      const event = result.value;
      if (event.type === 'usage') usage = addUsage(usage, event.usage);
      else yield event.type === 'prefill' ? event : { ...event, index };
    }
    if (usage) yield { type: 'usage', usage };
  } finally {
    // Those that still wait for a slot or a token would otherwise hold up the end.
    others.abort();
    await Promise.allSettled(iterators.map((iterator) => iterator.return(undefined)));
  }
}

/**
 * Results in the order in which they come. A race over all choices would do, but each race leaves something behind on
 * the promise of a choice that waits, for every token of the others.
 */
class Arrived {
  readonly #results: Promise<Numbered>[] = [];
  #wake: (() => void) | undefined;

  add(index: number, pending: Promise<IteratorResult<GenerateEvent>>): void {
    const settled = () => {
      this.#results.push(numbered);
      this.#wake?.();
    };
    const numbered = pending.then((result) => ({ result, index }));
    numbered.then(settled, settled);
  }

  /** @throws what the choice throws whose turn it is. */
  async next(): Promise<Numbered> {
    if (this.#results.length === 0) await new Promise<void>((resolve) => (this.#wake = resolve));
    return this.#results.shift()!;
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
