import { jest } from '@jest/globals';
import { LMServError } from '../../../src/errors.js';
import type { GenerateEvent, ProgressEvent, ReplyEvent } from '../../../src/contract.js';
import { newTrace, Tracer } from '../../../src/generate/trace.js';

/** A tracer on a clock that stands until it is moved. */
function tracing() {
  let now = 1_000;
  jest.spyOn(performance, 'now').mockImplementation(() => now);
  const trace = newTrace();
  const passed: ReplyEvent[] = [];
  const lines: Record<string, unknown>[] = [];
  const tracer = new Tracer(
    { trace, abort: () => undefined },
    { event: (event) => void passed.push(event) },
    (facts) => void lines.push(facts),
  );
  const after = (ms: number, ...events: GenerateEvent[]) => {
    now += ms;
    for (const event of events) tracer.event(event);
  };
  return { trace, passed, lines, tracer, after };
}

afterEach(() => jest.restoreAllMocks());

const attempt = (model: string, again = false): ProgressEvent => ({
  type: 'attempt',
  model,
  backend: `${model}-backend`,
  again,
});
const queued = (position: number): ProgressEvent => ({ type: 'queued', position });
const dequeued: ProgressEvent = { type: 'dequeued' };
const started = (worker: string): ProgressEvent => ({ type: 'started', worker, expectedPrefix: 0 });
const text = (value: string, index = 0): ReplyEvent => ({ type: 'text', index, text: value });

test('only events of the reply are passed on', () => {
  const { passed, after } = tracing();
  const usage = { promptTokens: 3, completionTokens: 1, cachedTokens: 2 };
  const reply: ReplyEvent[] = [
    { type: 'prefill', promptTokens: 3 },
    text('a'),
    { type: 'finish', index: 0, reason: 'stop' },
    { type: 'usage', usage },
  ];
  after(0, attempt('m'), queued(1), dequeued, started('w'), { type: 'retry', resumed: false }, ...reply);
  expect(passed).toEqual(reply);
});

test('the time to the first token counts from the start, through retries and fallback', () => {
  const { trace, tracer, after } = tracing();
  after(5, attempt('a'), { type: 'retry', resumed: false });
  after(5, attempt('b', true), started('w'));
  after(10, { type: 'prefill', promptTokens: 3 });
  after(20, text('a'));
  after(7, text('b'));
  tracer.end();
  expect(trace).toMatchObject({
    ...{ model: 'b', backend: 'b-backend', worker: 'w', attempts: 3 },
    ...{ firstTokenMs: 40, decodeMs: 7, completionTokens: 2, queueMs: 0 },
  });
  expect(trace.queuePosition).toBeUndefined();
});

test('choices that wait at the same time count once: the queue time is never more than the time that passed', () => {
  const { trace, after } = tracing();
  after(0, started('w'), queued(1), queued(2));
  after(10, dequeued, queued(3));
  after(10, dequeued);
  expect(trace.queueMs).toBe(0);
  after(10, dequeued);
  expect(trace.queueMs).toBe(30);
  after(100, queued(4));
  after(5, dequeued);
  expect(trace).toMatchObject({ queueMs: 35, queuePosition: 1 });
});

test('a resumed reply is counted as another attempt and as a resume', () => {
  const { trace, after } = tracing();
  after(0, attempt('m'), started('a'), text('x'), { type: 'retry', resumed: true }, started('b'));
  expect(trace).toMatchObject({ attempts: 2, resumes: 1, worker: 'b' });
});

test('calls whose arguments are JSON in the end are counted as repairs', () => {
  const { trace, lines, after } = tracing();
  after(0, attempt('m'), { type: 'slip', kept: 5, dropped: 2 }, { type: 'repair', repaired: false });
  expect(trace.repairs).toBeUndefined();
  after(0, { type: 'repair', repaired: true }, { type: 'repair', repaired: true });
  expect(trace.repairs).toBe(2);
  expect(lines.slice(1, 3)).toEqual([
    { event: 'generation_slip', kept: 5, dropped: 2 },
    { event: 'generation_repair', repaired: false },
  ]);
});

test('each step and the end have a line, none of which holds content', () => {
  const { lines, tracer, after } = tracing();
  after(0, attempt('m'), queued(2), dequeued, started('w'), text('CANARY'));
  after(0, { type: 'retry', resumed: true }, started('v'), { type: 'finish', index: 0, reason: 'stop' });
  tracer.end(new LMServError('generation_failed', 'CANARY'));
  expect(lines).toEqual([
    { event: 'generation_attempt', model: 'm', backend: 'm-backend', again: false },
    { event: 'generation_queued', position: 2 },
    { event: 'generation_dequeued' },
    { event: 'generation_started', worker: 'w', expectedPrefix: 0 },
    { event: 'generation_retry', resumed: true },
    { event: 'generation_started', worker: 'v', expectedPrefix: 0 },
    {
      event: 'generation_end',
      ...{ finishReason: 'stop', promptTokens: 0, cachedTokens: 0, completionTokens: 1 },
      ...{ firstTokenMs: 0, decodeMs: 0 },
      error: 'generation_failed',
    },
  ]);
});
