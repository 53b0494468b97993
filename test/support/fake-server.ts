import type { IncomingHttpHeaders, IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Server } from 'node:net';
import { text } from 'node:stream/consumers';
import { HttpServer } from '../harness/http-server.js';

const running: HttpServer[] = [];
afterEach(() => Promise.all(running.splice(0).map((server) => server.stop())));

/** Starts a server on a free port, until the end of the test; its address. */
export async function serve(server: RequestListener | Server): Promise<string> {
  const started = await HttpServer.start(server);
  running.push(started);
  return started.url;
}

/** An address where nothing listens: its port was free a moment ago. */
export async function deadUrl(): Promise<string> {
  const server = await HttpServer.start(() => undefined);
  await server.stop();
  return server.url;
}

export interface Received {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Record<string, unknown>;
}

/** Replies to one request; it may keep `response` open for as long as the test needs. */
export type Reply = (response: ServerResponse, received: Received) => void | Promise<void>;

export interface FakeServer {
  readonly url: string;
  /** The requests so far. */
  readonly received: readonly Received[];
}

/** A server that replies as the test says and remembers its requests. */
export async function fakeServer(reply: Reply): Promise<FakeServer> {
  const received: Received[] = [];
  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const body = JSON.parse((await text(request)) || '{}');
    received.push({ path: request.url!, headers: request.headers, body });
    await reply(response, received.at(-1)!);
  };
  const url = await serve((request, response) => void handle(request, response));
  return { url, received };
}

export const json =
  (status: number, body: unknown, headers: Record<string, string> = {}): Reply =>
  (response) => {
    response.writeHead(status, { 'content-type': 'application/json', 'x-request-id': 'req-1', ...headers });
    response.end(typeof body === 'string' ? body : JSON.stringify(body));
  };

/** A chat completion that is not streamed. */
export const completion = (content: string | null, finish_reason = 'stop'): Reply =>
  json(200, { choices: [{ index: 0, message: { role: 'assistant', content }, finish_reason }] });

export const errorBody = (code: string, message: string) => ({
  error: { message, type: 'x', param: null, code },
});

export const event = (value: unknown): string => `data: ${JSON.stringify(value)}\n\n`;

/** One chunk of a streamed chat completion. */
export const delta = (content: string): string => event({ choices: [{ index: 0, delta: { content } }] });

export const finish = (finish_reason: string): string =>
  event({ choices: [{ index: 0, delta: {}, finish_reason }] });

export const done = 'data: [DONE]\n\n';

/** Starts a stream with these texts and leaves it open. */
export function openSse(response: ServerResponse, ...texts: string[]): void {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'x-request-id': 'req-1' });
  response.flushHeaders();
  for (const text of texts) response.write(text);
}

/** Streams these texts, whatever they contain, and ends the response correctly. */
export const sse =
  (...texts: string[]): Reply =>
  (response) => {
    openSse(response, ...texts);
    response.end();
  };

/** Streams these texts, then cuts the connection once they are sent. */
export const cutAfter =
  (...texts: string[]): Reply =>
  (response) => {
    openSse(response);
    response.write(texts.join(''), () => response.destroy());
  };
