import { randomUUID } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { LMServError, openAiError } from '../errors.js';

/** What Node's parser found wrong before there was a request that could be answered the usual way. */
const CODES: Readonly<Record<string, 'request_timeout' | 'headers_too_large'>> = {
  ERR_HTTP_REQUEST_TIMEOUT: 'request_timeout',
  HPE_HEADER_OVERFLOW: 'headers_too_large',
};

/** Answers a broken or too slow request in the form of all errors, and closes the connection. */
export function onClientError(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const told = new LMServError(CODES[error.code ?? ''] ?? 'invalid_http');
  const body = JSON.stringify({ error: openAiError(told) });
  const head = [
    `HTTP/1.1 ${told.status} ${STATUS_TEXT[told.status] ?? 'Bad Request'}`,
    'Connection: close',
    'Content-Type: application/json; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    `x-request-id: ${randomUUID()}`,
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
}

const STATUS_TEXT: Readonly<Record<number, string>> = {
  408: 'Request Timeout',
  431: 'Request Header Fields Too Large',
};
