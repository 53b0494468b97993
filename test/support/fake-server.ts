import { once } from 'node:events';
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestListener,
  type ServerResponse,
} from 'node:http';
import { createServer as createTcpServer, Server, type AddressInfo, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';

const running = new Map<Server, Set<Socket>>();
afterEach(() => Promise.all([...running.keys()].map(stop)));

/** Starts a server on a free port, until the end of the test at the latest; its address. */
export async function serve(handler: RequestListener | Server): Promise<string> {
  const server = handler instanceof Server ? handler : createServer(handler);
  const sockets = new Set<Socket>();
  running.set(server, sockets);
  server.on('connection', (socket: Socket) => sockets.add(socket));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Stops a server and cuts its connections. */
export async function stop(server: Server): Promise<void> {
  const closed = new Promise((resolve) => server.close(resolve));
  for (const socket of running.get(server) ?? []) socket.destroy();
  running.delete(server);
  await closed;
}

/** An address where nothing listens: its port was free a moment ago. */
export async function deadUrl(): Promise<string> {
  const server = createTcpServer();
  const url = await serve(server);
  await stop(server);
  return url;
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
