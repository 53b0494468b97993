/** Shared by the remote backend's tests: a server to misbehave, a clock to move, a log to read. */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTcpServer, type AddressInfo } from 'node:net';
import type { GenerateRequest, ReplyEvent } from '../../../../src/contract.js';
import { RemoteBackend, type RemoteTools } from '../../../../src/backends/remote/backend.js';
import type { Clock } from '../../../../src/time.js';
import type { RemoteOptions } from '../../../../src/backends/remote/options.js';
import { testContext } from '../../../support/pulled.js';

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

/** A server that answers each request as the next of its answers says; the last one serves all that follow. */
export class FakeServer {
  readonly asked: Asked[] = [];
  readonly #server: Server;
  readonly #waiting: { count: number; resolve: (asked: Asked) => void }[] = [];

  private constructor(answers: readonly Answer[]) {
    this.#server = createServer((request, response) => {
      const parts: Buffer[] = [];
      request.on('data', (part: Buffer) => parts.push(part));
      request.on('end', () => {
        const asked: Asked = {
          path: request.url!,
          headers: request.headers,
          body: JSON.parse(Buffer.concat(parts).toString()),
          response,
          closed: new Promise((resolve) => response.once('close', resolve)),
          port: request.socket.remotePort,
        };
        this.asked.push(asked);
        answers[Math.min(this.asked.length, answers.length) - 1]!(asked);
        for (const { count, resolve } of this.#waiting) if (this.asked.length === count) resolve(asked);
      });
    });
  }

  static async start(...answers: Answer[]): Promise<FakeServer> {
    const server = new FakeServer(answers);
    await new Promise<void>((resolve) => server.#server.listen(0, '127.0.0.1', resolve));
    return server;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** The `count`-th request, from 1, once it has come. */
  nth(count: number): Promise<Asked> {
    const there = this.asked[count - 1];
    if (there) return Promise.resolve(there);
    return new Promise((resolve) => this.#waiting.push({ count, resolve }));
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }
}

/** A port nobody listens on. */
export async function deadPort(): Promise<number> {
  const server = createTcpServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
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
