import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingHttpHeaders, IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Received {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Record<string, unknown>;
}

/** Answers one request; it may hold on to `response` for as long as the test needs. */
export type Answer = (response: ServerResponse, received: Received) => void | Promise<void>;

const running: FakeServer[] = [];

/** A server on a free port that answers as the test says and remembers what it was sent. */
export class FakeServer {
  readonly received: Received[] = [];
  #answer: Answer;

  private constructor(
    readonly server: Server,
    answer: Answer,
  ) {
    this.#answer = answer;
    server.on('request', (request, response) => void this.#serve(request, response));
  }

  static async start(answer: Answer): Promise<FakeServer> {
    const fake = new FakeServer(createServer(), answer);
    fake.server.listen(0, '127.0.0.1');
    await once(fake.server, 'listening');
    running.push(fake);
    return fake;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = '';
    for await (const chunk of request.setEncoding('utf8')) text += chunk;
    const received = { path: request.url ?? '', headers: request.headers, body: JSON.parse(text || '{}') };
    this.received.push(received);
    await this.#answer(response, received);
  }
}

/** Call it in `afterEach`. */
export async function stopServers(): Promise<void> {
  await Promise.all(running.splice(0).map((fake) => fake.stop()));
}

/** An address where nothing listens: its port was free a moment ago. */
export async function deadUrl(): Promise<string> {
  const fake = await FakeServer.start(() => undefined);
  const { url } = fake;
  running.splice(running.indexOf(fake), 1);
  await fake.stop();
  return url;
}

export const json =
  (status: number, body: unknown, headers: Record<string, string> = {}): Answer =>
  (response) => {
    response.writeHead(status, { 'content-type': 'application/json', 'x-request-id': 'req-1', ...headers });
    response.end(typeof body === 'string' ? body : JSON.stringify(body));
  };

/** A chat completion that is not streamed. */
export const completion = (content: string | null, finishReason = 'stop'): Answer =>
  json(200, {
    choices: [{ index: 0, message: { role: 'assistant', content }, finish_reason: finishReason }],
  });

export const errorBody = (code: string, message: string): unknown => ({
  error: { message, type: 'x', param: null, code },
});

/** One chunk of a streamed chat completion. */
export const delta = (content: string): string => event({ choices: [{ index: 0, delta: { content } }] });
export const finish = (reason: string): string =>
  event({ choices: [{ index: 0, delta: {}, finish_reason: reason }] });
export const event = (value: unknown): string => `data: ${JSON.stringify(value)}\n\n`;
export const done = 'data: [DONE]\n\n';

export function openSse(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'x-request-id': 'req-1' });
  response.flushHeaders();
}

/** Streams these texts and ends the answer as HTTP wants it, whatever they hold. */
export const sse =
  (...texts: string[]): Answer =>
  (response) => {
    openSse(response);
    for (const text of texts) response.write(text);
    response.end();
  };

/** Streams these texts, then destroys the connection once they are sent. */
export const cutAfter =
  (...texts: string[]): Answer =>
  (response) => {
    openSse(response);
    response.write(texts.join(''), () => response.destroy());
  };

export async function collect(source: AsyncIterable<string>): Promise<string[]> {
  const all: string[] = [];
  for await (const text of source) all.push(text);
  return all;
}

/** What a promise rejects with; it is an error of the test when it does not. */
export async function failure(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    (value) => Promise.reject(new Error(`expected a failure, got ${JSON.stringify(value)}`)),
    (thrown: unknown) => thrown,
  );
}
