/** Shared by the remote backend's tests: a server to misbehave, a clock to move, a log to read. */

import { EventEmitter, once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import type { GenerateRequest, ReplyEvent } from '../../../../src/contract.js';
import { RemoteBackend, type RemoteTools } from '../../../../src/backends/remote/backend.js';
import type { Clock } from '../../../../src/time.js';
import type { RemoteOptions } from '../../../../src/backends/remote/options.js';
import { serve } from '../../../support/fake-server.js';
import { pull, testContext, type TestContext } from '../../../support/pulled.js';

export interface Asked {
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: Record<string, unknown>;
  readonly response: ServerResponse;
  /** Resolves when the connection is gone. */
  readonly closed: Promise<void>;
  /** The port it came from, which tells connections apart. */
  readonly port: number | undefined;
}

export type Answer = (asked: Asked) => void;

/** A server, until the end of the test, that answers each request as the next of its answers says; the last serves all that follow. */
export async function answering(...answers: Answer[]) {
  const asked: Asked[] = [];
  const events = new EventEmitter();
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { url, headers, socket } = request;
    const body = JSON.parse(await text(request));
    const closed = new Promise<void>((resolve) => response.once('close', resolve));
    asked.push({ path: url!, headers, body, response, closed, port: socket.remotePort });
    answers[Math.min(asked.length, answers.length) - 1]!(asked.at(-1)!);
    events.emit('asked');
  };
  const url = await serve((request, response) => void answer(request, response));
  /** The `count`-th request, from 1, once it has come. */
  const nth = async (count: number): Promise<Asked> => {
    while (asked.length < count) await once(events, 'asked');
    return asked[count - 1]!;
  };
  return { url, asked, nth };
}

export const sse = (...payloads: unknown[]): string =>
  payloads
    .map((payload) => `data: ${typeof payload === 'string' ? payload : JSON.stringify(payload)}\n\n`)
    .join('');

export const role = { choices: [{ index: 0, delta: { role: 'assistant', content: '' } }] };
export const token = (content: string) => ({ choices: [{ index: 0, delta: { content } }] });
export const finish = (reason = 'stop') => ({ choices: [{ index: 0, delta: {}, finish_reason: reason }] });
export const usage = (prompt: number, completion: number) => ({
  choices: [],
  usage: { prompt_tokens: prompt, completion_tokens: completion },
});

export const WHOLE = sse(role, token('Hel'), token('lo'), finish(), usage(7, 2), '[DONE]');

export const STREAM = { 'content-type': 'text/event-stream' };

/** Streams `text` and ends. */
export const streams =
  (text = WHOLE): Answer =>
  ({ response }) =>
    response.writeHead(200, STREAM).end(text);

/** Sends the beginning of a stream and leaves it open. */
export const hangsAfter =
  (text: string): Answer =>
  ({ response }) => {
    response.writeHead(200, STREAM).flushHeaders();
    response.write(text);
  };

/** Sends the beginning of a stream and cuts the connection. */
export const diesAfter =
  (text: string): Answer =>
  ({ response }) => {
    response.writeHead(200, STREAM).flushHeaders();
    response.write(text, () => response.destroy());
  };

export const refuses =
  (status: number, body: unknown = {}, headers: Record<string, string> = {}): Answer =>
  ({ response }) =>
    response
      .writeHead(status, { 'content-type': 'application/json', ...headers })
      .end(typeof body === 'string' ? body : JSON.stringify(body));

export const hangs: Answer = () => undefined;

/** A clock that stands until it is moved. */
export class FakeClock implements Clock {
  #now = 1_000;
  readonly #timers = new Set<{ at: number; ms: number; done: () => void }>();
  readonly #waiting: { ms: number; resolve: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  after(ms: number, done: () => void): () => void {
    const timer = { at: this.#now + ms, ms, done };
    this.#timers.add(timer);
    for (const waiter of this.#waiting) if (waiter.ms === ms) waiter.resolve();
    return () => this.#timers.delete(timer);
  }

  /** Resolves when a timer of exactly `ms` milliseconds is running. */
  armed(ms: number): Promise<void> {
    if ([...this.#timers].some((timer) => timer.ms === ms)) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ ms, resolve }));
  }

  /** Waits for a timer of exactly `ms` milliseconds and lets it run out. */
  async pass(ms: number): Promise<void> {
    await this.armed(ms);
    this.advance(ms);
  }

  get timers(): number {
    return this.#timers.size;
  }

  advance(ms: number): void {
    this.#now += ms;
    for (const timer of [...this.#timers].sort((a, b) => a.at - b.at)) {
      if (timer.at > this.#now || !this.#timers.delete(timer)) continue;
      timer.done();
    }
  }
}

/** Keeps what is logged. */
function fakeLogger(): { logger: RemoteTools['logger']; lines: Record<string, unknown>[] } {
  const lines: Record<string, unknown>[] = [];
  const log = (line: Record<string, unknown>) => lines.push(line);
  return {
    logger: { debug: log, info: log, warn: log, error: log } as unknown as RemoteTools['logger'],
    lines,
  };
}

const TIMEOUTS = { connectMs: 5_000, firstTokenMs: 60_000, tokenMs: 15_000, totalMs: 600_000 };

function options(baseUrl: string, more: Partial<RemoteOptions> = {}): RemoteOptions {
  return {
    name: 'far',
    baseUrl,
    model: 'their-model',
    kind: 'openai',
    maxTokensField: 'max_tokens',
    timeouts: TIMEOUTS,
    retries: { attempts: 0, budgetMs: 5_000 },
    ...more,
  };
}

/** A backend with a clock that stands and no jitter but half of each bound. */
export function backend(
  baseUrl: string,
  more: Partial<RemoteOptions> = {},
  tools: Partial<RemoteTools> = {},
) {
  const clock = new FakeClock();
  const { logger, lines } = fakeLogger();
  const made = new RemoteBackend(options(baseUrl, more), { logger, clock, random: () => 0.5, ...tools });
  return { backend: made, clock, lines };
}

export const chat: GenerateRequest = {
  kind: 'chat',
  n: 1,
  body: { messages: [{ role: 'user', content: 'the secret plan' }], max_tokens: 8 },
};

export { testContext as context };

/** All events, and what was thrown after them. */
export async function run(
  events: AsyncIterable<ReplyEvent>,
): Promise<{ events: ReplyEvent[]; thrown: unknown }> {
  const seen: ReplyEvent[] = [];
  try {
    for await (const event of events) seen.push(event);
    return { events: seen, thrown: undefined };
  } catch (thrown) {
    return { events: seen, thrown };
  }
}

/** The first event that is part of the reply itself. */
export async function firstToken(events: AsyncGenerator<ReplyEvent>): Promise<ReplyEvent> {
  for (;;) {
    const { value, done } = await events.next();
    if (done) throw new Error('the reply ended before its first token');
    if (value.type !== 'prefill') return value;
  }
}

export const textOf = (events: readonly ReplyEvent[]): string =>
  events.map((event) => (event.type === 'text' ? event.text : '')).join('');

/** A reply whose first token, `a`, has come and which goes on when its server says more. */
export async function begun(text = sse(token('a'))) {
  const server = await answering(hangsAfter(text));
  const { backend: far, clock } = backend(server.url);
  const events = pull(far, chat, testContext());
  await firstToken(events);
  return { far, clock, events, asked: server.asked[0]! };
}

/** A backend that is asked for one chat, with what its server answers first, second and so on. */
export async function asking(
  answers: Answer | Answer[],
  more: Partial<RemoteOptions> = {},
  its: TestContext = testContext(),
) {
  const server = await answering(...[answers].flat());
  const { backend: far, clock, lines } = backend(server.url, more);
  return { server, far, clock, lines, running: run(pull(far, chat, its)) };
}

/** The same, once the reply has ended. */
export async function answered(...args: Parameters<typeof asking>) {
  const asked = await asking(...args);
  return { ...asked, ...(await asked.running) };
}
