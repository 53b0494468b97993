import { randomUUID } from 'node:crypto';
import {
  createServer,
  type RequestListener,
  type Server,
  type ServerOptions,
  type ServerResponse,
} from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { LMServError, openAiError } from '../errors.js';
import type { Logger } from '../observe/logger.js';

const OPTIONS: ServerOptions = {
  // Milliseconds for headers and for a whole request to arrive; slower ones get 408.
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  connectionsCheckingInterval: 1_000,
  // Longer than a proxy's (nginx: 60 s), or the proxy might send a request on a connection that is closing.
  keepAliveTimeout: 75_000,
  // Node's refusal has neither body nor request id; that of `hostCheck` has both.
  requireHostHeader: false,
};

/** Max time during which a client reads nothing of what is ready for it, milliseconds. */
const STALL_MS = 30_000;

/** The HTTP server around the app, not yet listening. Requests that Node itself refuses get errors in LMServ's form. */
export function httpServer(app: RequestListener, options: ServerOptions = {}): Server {
  const onRequest: RequestListener = (request, response) => {
    if (follow(response)) app(request, response);
  };
  return (
    createServer({ ...OPTIONS, ...options }, onRequest)
      // An unknown expectation may be ignored (RFC 9110, 10.1.1).
      .on('checkExpectation', onRequest)
      .on('clientError', onClientError)
      .setTimeout(STALL_MS, onTimeout)
  );
}

/** Errors of Node's parser, which occur before there is a request to reply to. */
const CLIENT_ERRORS: Readonly<Record<string, 'request_timeout' | 'headers_too_large'>> = {
  ERR_HTTP_REQUEST_TIMEOUT: 'request_timeout',
  HPE_HEADER_OVERFLOW: 'headers_too_large',
};

const STATUS_TEXT: Readonly<Record<number, string>> = {
  408: 'Request Timeout',
  431: 'Request Header Fields Too Large',
};

/** Replies to a broken or slow request in the usual form of errors, and closes the connection. */
function onClientError(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const reply = new LMServError(CLIENT_ERRORS[error.code ?? ''] ?? 'invalid_http');
  const body = JSON.stringify({ error: openAiError(reply) });
  const head = [
    `HTTP/1.1 ${reply.status} ${STATUS_TEXT[reply.status] ?? 'Bad Request'}`,
    'Connection: close',
    'Content-Type: application/json; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    `x-request-id: ${randomUUID()}`,
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
}

/** Min time between two lines of `onAcceptError`, milliseconds: the kernel offers a connection until it is accepted. */
const QUIET_MS = 1_000;

/**
 * Logs that a connection could not be accepted, usually because there are no descriptors left. Open connections are not
 * affected, and new ones are accepted as soon as others end.
 *
 * @param now a clock, milliseconds.
 */
export function onAcceptError(logger: Logger, now = () => performance.now()): (error: Error) => void {
  let quietUntil = -Infinity;
  return (error) => {
    if (now() < quietUntil) return;
    quietUntil = now() + QUIET_MS;
    const { code } = error as NodeJS.ErrnoException;
    logger.error({ event: 'accept_failed', code }, 'a connection could not be accepted');
  };
}

/** Max number of open requests per connection. Clients hardly ever pipeline, and Node reads any number of requests. */
const MAX_PIPELINED = 20;

/** The open replies of each connection: one listener serves them all, however many a client pipelines. */
const openReplies = new WeakMap<Socket, Set<ServerResponse>>();

/**
 * Makes a response emit 'close' when its connection ends. Node does that for the response that is being written; those
 * pipelined behind it have no socket yet and would never notice that their client has gone.
 *
 * @returns false for a request beyond the 20 that a connection may have open, which closes the connection, and for those
 *   behind it: Node reads on in what it had received.
 */
function follow(response: ServerResponse): boolean {
  const { socket } = response.req;
  if (socket.destroyed) return false;
  const replies = openReplies.get(socket) ?? followConnection(socket);
  if (replies.size === MAX_PIPELINED) {
    socket.destroy();
    return false;
  }
  replies.add(response);
  response.once('close', () => replies.delete(response));
  return true;
}

function followConnection(socket: Socket): Set<ServerResponse> {
  const replies = new Set<ServerResponse>();
  openReplies.set(socket, replies);
  // After Node's own listeners, so that only the responses Node forgets are left.
  socket.once('close', () => process.nextTick(() => replies.forEach(close)));
  return replies;
}

function close(response: ServerResponse): void {
  response.destroy();
  response.emit('close');
}

/**
 * No byte has moved on a connection for a while. It is cut off if its client does not read, so that it does not hold its
 * buffers for ever, or if it is idle. Otherwise a reply is being generated, and may send nothing for longer.
 */
function onTimeout(socket: Socket): void {
  const idle = (openReplies.get(socket)?.size ?? 0) === 0;
  if (idle || socket.writableLength > 0) socket.destroy();
}
