import type { GenerateEvent } from '../../../src/contract.js';
import { newTrace, Tracer } from '../../../src/generate/trace.js';
import { GAP_BOUNDS_MS, GapCounter } from '../../../src/observe/token-gaps.js';

/** The buckets that are not empty: upper bound and count. */
const bucketsOf = ({ counts }: { counts: Uint32Array }) =>
  [...counts].flatMap((count, i) => (count > 0 ? [[GAP_BOUNDS_MS[i] ?? Infinity, count]] : []));

test('every gap is counted in the bucket of the bound it does not exceed', () => {
  const gaps = new GapCounter();
  let now = 5_000;
  gaps.note(0, now);
  for (const gap of [0, 1, 1.1, 10, 10.5, 30_000, 30_001]) gaps.note(0, (now += gap));
  expect(bucketsOf(gaps)).toEqual([
    [1, 2],
    [2.5, 1],
    [10, 1],
    [15, 1],
    [30_000, 1],
    [Infinity, 1],
  ]);
  expect(gaps.sumMs).toBeCloseTo(now - 5_000, 6);
});

test('the first token of a reply has no gap', () => {
  const gaps = new GapCounter();
  gaps.note(0, 1_000);
  expect(bucketsOf(gaps)).toEqual([]);
  expect(gaps.sumMs).toBe(0);
});

test('tokens of other choices do not shorten a gap', () => {
  const gaps = new GapCounter();
  gaps.note(0, 0);
  gaps.note(1, 90);
  gaps.note(0, 100);
  gaps.note(1, 190);
  expect(bucketsOf(gaps)).toEqual([[100, 2]]);
});

test('a traced generation has one gap less than tokens, for each choice', () => {
  const trace = newTrace();
  const events: GenerateEvent[] = [
    { type: 'prefill', promptTokens: 3 },
    { type: 'reasoning', index: 0, text: 'a' },
    { type: 'text', index: 0, text: 'b' },
    { type: 'tool_call', index: 0, call: { index: 0 } },
    { type: 'text', index: 1, text: 'c' },
    { type: 'finish', index: 0, reason: 'stop' },
  ];
  const tracer = new Tracer({ trace, abort: () => undefined }, { event: () => undefined });
  for (const event of events) tracer.event(event);
  expect(trace.tokenGaps!.counts.reduce((sum, count) => sum + count, 0)).toBe(2);
});
