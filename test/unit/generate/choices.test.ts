import type { GenerateEvent, Sink } from '../../../src/contract.js';
import { runChoices } from '../../../src/generate/choices.js';

const text = (value: string): GenerateEvent => ({ type: 'text', index: 0, text: value });
const usage = (completionTokens: number): GenerateEvent => ({
  type: 'usage',
  usage: { promptTokens: 5, completionTokens, cachedTokens: 0 },
});

const never = () => undefined;

/** The cancellation of a request. */
function scope() {
  const controller = new AbortController();
  return { signal: controller.signal, abort: (reason: unknown) => controller.abort(reason) };
}

/** A sink that keeps what it is given. */
function recording() {
  const events: GenerateEvent[] = [];
  return { events, sink: { event: (event: GenerateEvent) => void events.push(event) } };
}

const aborted = (signal: AbortSignal) =>
  new Promise<never>((_resolve, reject) =>
    signal.addEventListener('abort', () => reject(new Error('ended'))),
  );

test('each event has the index of its choice; the prompt is counted once', async () => {
  const { events, sink } = recording();
  await runChoices(2, never, sink, async (index, into) => {
    into.event(text(`t${index}`));
    into.event(usage(index + 1));
  });
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

test('each prompt is counted once, also in the prefill', async () => {
  const { events, sink } = recording();
  const tokens = [5, 5, 7, 7];
  await runChoices(
    4,
    never,
    sink,
    async (index, into) => {
      const promptTokens = tokens[index]!;
      into.event({ type: 'prefill', promptTokens });
      into.event({ type: 'usage', usage: { promptTokens, completionTokens: 2, cachedTokens: 1 } });
    },
    2,
  );
  expect(events.at(-1)).toEqual({
    type: 'usage',
    usage: { promptTokens: 12, completionTokens: 8, cachedTokens: 2 },
  });
  expect(events.at(-2)).toEqual({ type: 'prefill', promptTokens: 12 });
});

test('at most 16 run at a time, and none begins after a failure', async () => {
  let running = 0;
  let most = 0;
  const begun: number[] = [];
  const work = async (index: number) => {
    begun.push(index);
    most = Math.max(most, (running += 1));
    await new Promise((resolve) => setImmediate(resolve));
    running -= 1;
  };
  await runChoices(40, never, recording().sink, work);
  expect([most, begun.length]).toEqual([16, 40]);
  begun.length = 0;
  const failing = async (index: number) => {
    await work(index);
    throw new Error('boom');
  };
  await expect(runChoices(40, never, recording().sink, failing)).rejects.toThrow('boom');
  expect(begun).toHaveLength(16);
});

test('when one fails the others are ended, also one that waits', async () => {
  const ended: number[] = [];
  const { signal, abort } = scope();
  const merged = runChoices(2, abort, recording().sink, async (index) => {
    try {
      if (index === 0) throw new Error('boom');
      await aborted(signal);
    } finally {
      ended.push(index);
    }
  });
  await expect(merged).rejects.toThrow('boom');
  expect(ended.sort()).toEqual([0, 1]);
});

test('when the client leaves all are ended, and no usage is made up', async () => {
  const ended: number[] = [];
  const { signal, abort } = scope();
  const { events, sink } = recording();
  const merged = runChoices(2, abort, sink, async (index, into) => {
    try {
      into.event(text('a'));
      await aborted(signal);
    } finally {
      ended.push(index);
    }
  });
  abort(new Error('gone'));
  await expect(merged).rejects.toThrow('ended');
  expect(ended.sort()).toEqual([0, 1]);
  expect(events.map((event) => event.type)).toEqual(['text', 'text']);
});

test('a choice that waits does not hold up the others, nor is it forgotten', async () => {
  let go!: () => void;
  const waits = new Promise<void>((resolve) => (go = resolve));
  const { events, sink } = recording();
  const merged = runChoices(2, never, sink, async (index, into) => {
    if (index === 0) await waits;
    into.event(text(`t${index}`));
    if (index === 1) into.event(text('more'));
  });
  const before = [
    { type: 'text', index: 1, text: 't1' },
    { type: 'text', index: 1, text: 'more' },
  ];
  expect(events).toEqual(before);
  go();
  await merged;
  expect(events).toEqual([...before, { type: 'text', index: 0, text: 't0' }]);
});

test('events are passed on in the order in which they come', async () => {
  const { events, sink } = recording();
  await runChoices(3, never, sink, async (_index, into) => {
    for (let i = 0; i < 4; i += 1) {
      into.event(text('t'));
      await Promise.resolve();
    }
  });
  const order = events.map((event) => ('index' in event ? event.index : undefined));
  expect(order).toEqual([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]);
});

test('a sink that throws ends all choices with what it threw', async () => {
  const ended: number[] = [];
  const sink: Sink = {
    event: () => {
      throw new Error('no more');
    },
  };
  const { signal, abort } = scope();
  const merged = runChoices(2, abort, sink, async (index, into) => {
    try {
      if (index === 1) into.event(text('a'));
      await aborted(signal);
    } finally {
      ended.push(index);
    }
  });
  await expect(merged).rejects.toThrow('no more');
  expect(ended.sort()).toEqual([0, 1]);
});
