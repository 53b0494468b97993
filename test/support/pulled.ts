import type {
  Backend,
  Generate,
  GenerateContext,
  GenerateEvent,
  GenerateRequest,
  ReplyEvent,
  RequestScope,
  Sink,
} from '../../src/contract.js';
import { released } from '../../src/backends/custom.js';
import { opening } from '../../src/backends/opening.js';
import { ReplyFlow } from '../../src/generate/flow.js';
import { newTrace, Tracer } from '../../src/generate/trace.js';

/** What a test generates in. */
export type TestContext = RequestScope;

/** The events of a reply, as a fake makes them. */
export type Script = (
  request: GenerateRequest,
  context: TestContext,
) => AsyncIterable<ReplyEvent> | Iterable<ReplyEvent>;

export function testContext(more: Partial<TestContext> = {}): TestContext {
  const controller = new AbortController();
  return {
    requestId: 'r1',
    caller: { name: 'someone', admin: false },
    signal: controller.signal,
    abort: (reason) => controller.abort(reason),
    flow: new ReplyFlow(),
    trace: newTrace(),
    ...more,
  };
}

/**
 * Runs a generation that is read event by event: it begins with the first `next()`, is held back while nobody asks, as by
 * a client that does not read, and ends with `return()`, as when a client leaves.
 */
async function* pulled<E extends GenerateEvent>(
  context: TestContext,
  run: (context: TestContext, sink: Sink<E>) => Promise<void>,
): AsyncGenerator<E> {
  const left = new AbortController();
  const signal = AbortSignal.any([context.signal, left.signal]);
  const flow = new ReplyFlow();
  const arrived: E[] = [];
  let wake = () => undefined as void;
  let ended = false;
  const event = (arrival: E) => {
    arrived.push(arrival);
    flow.hold();
    wake();
  };
  const abort = (reason: unknown) => left.abort(reason);
  const done = run({ ...context, signal, abort, flow }, { event }).finally(() => {
    ended = true;
    wake();
  });
  done.catch(() => undefined);
  try {
    for (;;) {
      while (arrived.length > 0) yield arrived.shift()!;
      if (ended) return await done;
      const more = new Promise<void>((resolve) => (wake = resolve));
      flow.release();
      await more;
    }
  } finally {
    left.abort();
    await done.catch(() => undefined);
  }
}

/** One choice of a backend, event by event; the trace is written as in production. */
export function pull(
  backend: Pick<Backend, 'open'>,
  request: GenerateRequest,
  its: TestContext,
): AsyncGenerator<ReplyEvent> {
  return pulled<ReplyEvent>(its, async (context, sink) => {
    const tracer = new Tracer(context, sink);
    try {
      const { done } = await backend.open(request, context, tracer);
      await done;
    } finally {
      tracer.end();
    }
  });
}

/** A whole generation, event by event. */
export function pullFrom(
  generate: Generate,
  request: GenerateRequest,
  its: TestContext,
): AsyncGenerator<ReplyEvent> {
  return pulled<ReplyEvent>(its, (context, sink) => generate(request, context, sink));
}

/** A `generate` that plays a script, no faster than its client reads. */
export function scripted(script: Script): Generate {
  return async (request, context, sink) => play(script(request, context), context, sink);
}

/** `Backend.open` of a script; it begins with the first token. */
export function openScript(script: Script, request: GenerateRequest, context: GenerateContext, sink: Sink) {
  return opening(async (begun) => {
    await Promise.resolve();
    await play(script(request, context as TestContext), context, {
      event: (event) => {
        sink.event(event);
        if (event.type !== 'prefill') begun();
      },
    });
  });
}

async function play(
  events: AsyncIterable<ReplyEvent> | Iterable<ReplyEvent>,
  context: GenerateContext,
  sink: Sink<ReplyEvent>,
): Promise<void> {
  for await (const event of events) {
    sink.event(event);
    if (context.flow.held) await released(context);
    context.signal.throwIfAborted();
  }
}
