import { Readable } from 'node:stream';
import { Agent, ProxyAgent, type Dispatcher } from 'undici';
import type { Flow } from '../../contract.js';
import { lengthOf, paced } from '../../wire/images.js';
import { Pace } from '../../wire/pace.js';
import { DONE, SseDecoder } from '../../wire/sse.js';
import { BadReply, malformed } from '../../wire/bad-reply.js';
import { isObject, jsonOrText } from '../../wire/json-shape.js';
import type { RemoteOptions } from './options.js';
import { readRetryAfter } from './retry-policy.js';
import { fromReportedError, type Provider, type Refusal } from './failure.js';

export type Reply = Dispatcher.ResponseData;

/** Max bytes read of an error reply. */
const MAX_ERROR_BODY = 64 * 1024;

/** Max time for a server to send the usage and the end of a finished reply, milliseconds. */
export const END_MS = 1_000;

/** The pool of connections to one server. It follows no redirects and reads no proxy from the environment. */
export function createDispatcher({ timeouts, proxy }: Pick<RemoteOptions, 'timeouts' | 'proxy'>): Dispatcher {
  // The backend has its own timeouts, which distinguish a slow client from a slow server.
  const common = { headersTimeout: 0, bodyTimeout: 0 };
  const connect = { timeout: timeouts.connectMs };
  if (proxy === undefined) return new Agent({ ...common, connect });
  return new ProxyAgent({ ...common, uri: proxy, requestTls: connect, proxyTls: connect });
}

/**
 * The URL of a route below a base URL: a base without a path gets `/v1`, one with a path stays unchanged.
 *
 * @throws TypeError when the base is not a valid URL.
 */
export function routeUrl(baseUrl: string, route: string): URL {
  const url = new URL(baseUrl);
  const path = url.pathname.replace(/\/+$/, '');
  url.pathname = (path === '' ? '/v1' : path) + route;
  return url;
}

export interface Post {
  readonly url: URL;
  /** Perhaps in pieces. */
  readonly json: string | Iterable<string>;
  readonly apiKey: string | undefined;
  /** Use a new connection, because llama-server closes a connection after a streamed reply without announcing it. */
  readonly fresh: boolean;
  readonly signal: AbortSignal;
}

/** Sends a request; resolves with any status. @throws undici's and Node's errors. */
export async function post(
  dispatcher: Dispatcher,
  { url, json, apiKey, fresh, signal }: Post,
): Promise<Reply> {
  const inPieces = typeof json !== 'string';
  const reply = await dispatcher.request({
    origin: url.origin,
    path: url.pathname + url.search,
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'text/event-stream, application/json',
      'accept-encoding': 'identity',
      'user-agent': 'lmserv',
      ...(apiKey ? { authorization: `Bearer ${apiKey}` } : {}),
      // Not every server takes a body of unknown length.
      ...(inPieces ? { 'content-length': String(await lengthOf(json)) } : {}),
    },
    body: inPieces ? Readable.from(paced(json), { highWaterMark: 1 }) : json,
    reset: fresh,
    signal,
  });
  // Without a listener, an error while the body is not being read would crash the process; the next reader gets it anyway.
  reply.body.on('error', () => undefined);
  return reply;
}

/** The reply is compressed or encoded in another way. */
export function isEncoded(reply: Reply): boolean {
  const encoding = String(reply.headers['content-encoding'] ?? '').trim();
  return encoding !== '' && encoding.toLowerCase() !== 'identity';
}

/** Reads a reply that is not a stream. @throws when the connection breaks. */
export async function readRefusal(reply: Reply): Promise<Refusal> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of reply.body as AsyncIterable<Buffer>) {
    parts.push(part);
    size += part.length;
    if (size >= MAX_ERROR_BODY) break;
  }
  const header = (name: string) => [reply.headers[name]].flat()[0];
  return {
    status: reply.statusCode,
    retryAfterMs: readRetryAfter(header, Date.now()),
    text: Buffer.concat(parts).toString('utf8').slice(0, MAX_ERROR_BODY),
  };
}

/** Max bytes of an answer that is not streamed. */
const MAX_ANSWER = 16 * 1024 * 1024;

/** Reads an answer that is one JSON text. @throws when the connection breaks, BadReply, RemoteFailure for a reported error. */
export async function readWhole({ body }: Reply, provider: Provider): Promise<unknown> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of body as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > MAX_ANSWER) throw new BadReply('sent a reply of more than 16 MiB');
    parts.push(part);
  }
  const answer = jsonOrText(Buffer.concat(parts).toString('utf8'));
  if (!isObject(answer)) throw malformed();
  if (answer.error !== undefined && answer.error !== null) throw fromReportedError(provider, answer);
  return answer;
}

export interface ReadOptions {
  /** Holds the server's socket back while the client does not read. */
  readonly flow: Flow;
  /** Called synchronously with the data and type of each event; what it throws ends the reading and is thrown. */
  readonly onData: (data: string, event: string | undefined) => void;
  /** Called when the reply is held back or released. */
  readonly onHeld: (held: boolean) => void;
}

/**
 * Reads the events of a streamed reply. Resolves with true at `[DONE]` or the end of a reply in one piece, and with false
 * when the stream just ends.
 *
 * @throws undici's errors, StreamTooLong, BadReply, what `onData` throws.
 */
export function readEvents({ body }: Reply, { flow, onData, onHeld }: ReadOptions): Promise<boolean> {
  const detach = flow.attach({
    pause: () => {
      body.pause();
      onHeld(true);
    },
    resume: () => {
      onHeld(false);
      body.resume();
    },
  });
  return new Promise<boolean>((resolve, reject) => {
    let settled = false;
    const pace = new Pace(body, () => flow.held);
    const take = (data: string, event: string | undefined) => {
      if (settled) return;
      const trimmed = data.length > LONGEST_MARK ? data : data.trim();
      settled = trimmed === DONE;
      if (settled) resolve(true);
      // Without data, an event is a sign of life.
      else if (trimmed !== '') onData(data, event);
    };
    const events = new ReplyDecoder(take);
    const run = (work: () => void) => {
      if (settled) return;
      const began = performance.now();
      try {
        work();
        pace.note(began);
      } catch (error) {
        settled = true;
        reject(error);
      }
    };
    body.on('data', (bytes: Buffer) => run(() => events.push(bytes)));
    // undici destroys the body when the signal aborts, even one that is fully buffered and held back.
    body.once('error', reject);
    body.once('end', () => {
      run(() => events.end());
      resolve(events.isWhole);
    });
    body.once('close', () => resolve(false));
  }).finally(detach);
}

/** Events of more characters are not compared with `[DONE]` or examined for being blank. */
const LONGEST_MARK = 64;

/** Max characters of a reply in one piece, which is parsed without a pause. */
const MAX_WHOLE = 16 * 1024 * 1024;

/**
 * Decodes the body of a reply by what it begins with, whatever its content type says: events, or, from a server that does
 * not stream, one JSON text, which is passed on like the data of an event.
 */
class ReplyDecoder {
  readonly #onData: (data: string, event: string | undefined) => void;
  readonly #text = new TextDecoder();
  readonly #events = new SseDecoder();
  /** The pieces of a JSON text; undefined for events. */
  #whole: string[] | undefined;
  #size = 0;
  #begun = false;
  #endsWithReturn = false;

  constructor(onData: (data: string, event: string | undefined) => void) {
    this.#onData = onData;
  }

  /** The reply came in one piece. */
  get isWhole(): boolean {
    return this.#whole !== undefined;
  }

  /** @throws StreamTooLong, BadReply, what `onData` throws. */
  push(bytes: Buffer): void {
    let text = this.#text.decode(bytes, { stream: true });
    if (!this.#begun) {
      text = text.trimStart();
      if (text === '') return;
      this.#begun = true;
      if (text.startsWith('<')) throw new BadReply('sent a web page instead of a reply; check its baseUrl');
      if (text.startsWith('{') || text.startsWith('[')) this.#whole = [];
    }
    if (!this.#whole) return this.#events.push(this.#withLineFeeds(text), this.#onData);
    this.#size += text.length;
    if (this.#size > MAX_WHOLE) throw new BadReply('sent a reply of more than 16 Mi characters');
    this.#whole.push(text);
  }

  /** The body has ended in good order: the last event may lack its blank line. */
  end(): void {
    if (this.#whole) this.#onData(this.#whole.join(''), undefined);
    else this.#events.push('\n\n', this.#onData);
  }

  /** Lines may end with a carriage return alone, which JSON never contains. */
  #withLineFeeds(text: string): string {
    const rest = this.#endsWithReturn && text.startsWith('\n') ? text.slice(1) : text;
    if (text !== '') this.#endsWithReturn = text.endsWith('\r');
    return rest.includes('\r') ? rest.replace(/\r\n?/g, '\n') : rest;
  }
}

/** Drains a finished reply, so that its connection can serve another request once the server has ended the reply. */
export function drainAndRelease({ body }: Reply): void {
  const timer = setTimeout(() => body.destroy(), END_MS).unref();
  body.once('close', () => clearTimeout(timer));
  body.resume();
}
