import type { GenerateEvent } from '../../../src/contract.js';
import { mergeChoices } from '../../../src/generate/choices.js';

const text = (value: string): GenerateEvent => ({ type: 'text', index: 0, text: value });
const usage = (completionTokens: number): GenerateEvent => ({
  type: 'usage',
  usage: { promptTokens: 5, completionTokens, cachedTokens: 0 },
});

async function* play(events: GenerateEvent[]): AsyncGenerator<GenerateEvent> {
  yield* events;
}

async function all(events: AsyncIterable<GenerateEvent>): Promise<GenerateEvent[]> {
  const list = [];
  for await (const event of events) list.push(event);
  return list;
}

const never = new AbortController().signal;

test('each event has the index of its choice; the prompt is counted once', async () => {
  const events = await all(mergeChoices(2, never, (index) => play([text(`t${index}`), usage(index + 1)])));
  expect(events.filter((event) => event.type === 'text').sort((a, b) => a.index - b.index)).toEqual([
    { type: 'text', index: 0, text: 't0' },
    { type: 'text', index: 1, text: 't1' },
  ]);
  expect(events.at(-1)).toEqual({
    type: 'usage',
    usage: { promptTokens: 5, completionTokens: 3, cachedTokens: 0 },
  });
  expect(events.filter((event) => event.type === 'usage')).toHaveLength(1);
});

test('when one fails the others are ended, also one that waits', async () => {
  const ended: number[] = [];
  const merged = mergeChoices(2, never, async function* (index, signal) {
    try {
      if (index === 0) throw new Error('boom');
      await new Promise((_resolve, reject) =>
        signal.addEventListener('abort', () => reject(new Error('ended'))),
      );
      yield text('never');
    } finally {
      ended.push(index);
    }
  });
  await expect(all(merged)).rejects.toThrow('boom');
  expect(ended.sort()).toEqual([0, 1]);
});

test('when the reader leaves all are ended', async () => {
  const ended: number[] = [];
  const merged = mergeChoices(2, never, async function* (index, signal) {
    try {
      yield text('a');
      await new Promise((_resolve, reject) =>
        signal.addEventListener('abort', () => reject(new Error('ended'))),
      );
    } finally {
      ended.push(index);
    }
  });
  await merged.next();
  await merged.return(undefined);
  expect(ended.sort()).toEqual([0, 1]);
});

test('a choice that waits does not hold up the others, nor is it forgotten', async () => {
  let go!: () => void;
  const waits = new Promise<void>((resolve) => (go = resolve));
  const merged = mergeChoices(2, never, async function* (index) {
    if (index === 0) await waits;
    yield text(`t${index}`);
    if (index === 1) yield text('more');
  });
  expect([(await merged.next()).value, (await merged.next()).value]).toEqual([
    { type: 'text', index: 1, text: 't1' },
    { type: 'text', index: 1, text: 'more' },
  ]);
  go();
  expect(await all(merged)).toEqual([{ type: 'text', index: 0, text: 't0' }]);
});

test('no choice goes ahead of one whose event came before', async () => {
  const merged = mergeChoices(3, never, async function* () {
    for (let i = 0; i < 4; i += 1) yield text('t');
  });
  const order = (await all(merged)).map((event) => ('index' in event ? event.index : undefined));
  expect(order).toEqual([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]);
});
