/** Shared by the generate tests: backends that do as they are told. */

import type {
  Backend,
  BackendStatus,
  GenerateContext,
  GenerateRequest,
  OpenReply,
  ReplyEvent,
  Sink,
} from '../../../src/contract.js';
import { openScript, testContext, type Script } from '../../support/pulled.js';

export const text = (value: string): ReplyEvent => ({ type: 'text', index: 0, text: value });
export const done: ReplyEvent = { type: 'finish', index: 0, reason: 'stop' };

/** A backend whose replies are made by a function; it notes what it was asked. */
export class FakeBackend implements Backend {
  readonly asked: { request: GenerateRequest; context: GenerateContext }[] = [];
  readonly stops: number[] = [];
  started = 0;
  readonly #script: Script;

  constructor(
    readonly name: string,
    script: Script = () => [text(name), done],
  ) {
    this.#script = script;
  }

  open(request: GenerateRequest, context: GenerateContext, sink: Sink): Promise<OpenReply> {
    this.asked.push({ request, context });
    return openScript(this.#script, request, context, sink);
  }

  status(): BackendStatus {
    return {
      ready: true,
      starting: false,
      workers: { total: 1, idle: 1, busy: 0, starting: 0, dead: 0 },
      slots: { total: 1, idle: 1 },
      queue: { waiting: 0, limit: 0 },
    };
  }

  start(): void {
    this.started += 1;
  }

  stop(graceMs: number): Promise<void> {
    this.stops.push(graceMs);
    return Promise.resolve();
  }
}

/** Throws before anything has come. */
export const fails =
  (error: Error): Script =>
  () => {
    throw error;
  };

/** Gives nothing until its signal aborts. */
export const hangs: Script = async function* (_request, { signal }) {
  yield { type: 'prefill', promptTokens: 1 };
  signal.throwIfAborted();
  await new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error));
  });
};

export { testContext as context };

export const chat = (more: Partial<GenerateRequest> = {}): GenerateRequest => ({
  kind: 'chat',
  n: 1,
  body: {},
  ...more,
});

export async function run(
  events: AsyncIterable<ReplyEvent>,
): Promise<{ said: string; events: ReplyEvent[]; thrown: unknown }> {
  const seen: ReplyEvent[] = [];
  let thrown: unknown;
  try {
    for await (const event of events) seen.push(event);
  } catch (error) {
    thrown = error;
  }
  const said = seen.map((event) => (event.type === 'text' ? event.text : '')).join('');
  return { said, events: seen, thrown };
}

/** Timeouts that pass when a test says so. */
export class FakeTimers {
  readonly #running = new Map<number, Set<() => void>>();

  readonly after = (ms: number, done: () => void): (() => void) => {
    const set = this.#running.get(ms) ?? new Set();
    this.#running.set(ms, set.add(done));
    return () => set.delete(done);
  };

  get running(): number {
    return [...this.#running.values()].reduce((sum, set) => sum + set.size, 0);
  }

  /** Lets all that wait for exactly `ms` milliseconds pass. */
  pass(ms: number): void {
    for (const done of this.#running.get(ms) ?? []) done();
  }
}
