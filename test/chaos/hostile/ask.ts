import { request as httpRequest } from 'node:http';
import type { Readable } from 'node:stream';

/** A request to the server under attack. */
export interface Question {
  readonly port: number;
  readonly key: string;
  /** GET without a body. */
  readonly path: string;
  readonly body?: unknown;
  /** Gives up then, milliseconds. */
  readonly withinMs: number;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Answer {
  /** undefined: none came. */
  readonly status: number | undefined;
  /** Its first part: nobody attacks this process by a long one. */
  readonly text: string;
  /** It came to its end. */
  readonly whole: boolean;
}

/** Characters kept of an answer. */
const KEPT = 65_536;

/** Asks, over a connection of its own. Never rejects. A body that is a text or a stream goes out as it is. */
export function ask({ port, key, path, body, withinMs, headers }: Question): Promise<Answer> {
  return new Promise((resolve) => {
    let status: number | undefined;
    let whole = false;
    let text = '';
    const request = httpRequest({
      ...{ host: '127.0.0.1', port, path, agent: false, method: body === undefined ? 'GET' : 'POST' },
      headers: { 'X-API-Key': key, 'Content-Type': 'application/json', ...headers },
    });
    const timer = setTimeout(() => request.destroy(), withinMs);
    request.on('error', () => undefined);
    request.on('close', () => {
      clearTimeout(timer);
      resolve({ status, text, whole });
    });
    request.on('response', (response) => {
      status = response.statusCode;
      response.on('error', () => undefined);
      response.on('end', () => (whole = response.complete));
      response.setEncoding('utf8').on('data', (piece: string) => {
        if (text.length < KEPT) text += piece;
      });
    });
    if (isStream(body)) body.pipe(request);
    else request.end(typeof body === 'string' || body === undefined ? body : JSON.stringify(body));
  });
}

function isStream(body: unknown): body is Readable {
  return typeof (body as Readable | undefined)?.pipe === 'function';
}
