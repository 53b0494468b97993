/** One POST over the platform's own fetch; every failure of it is typed. */

import {
  ConnectionError,
  ServerError,
  TimeoutError,
  errorForStatus,
  type ErrorInfo,
  type LLMClientError,
} from './errors.js';
import type { Target } from './types.js';

/** How much of a reply and of an error is read, in bytes after decompression (fetch decompresses by itself). */
export const MAX_REPLY = 16 * 1024 * 1024;
const MAX_ERROR = 64 * 1024;

export const TOO_LARGE = 'the reply is larger than 16 MiB';

/** Characters of a request id. */
const MAX_ID = 128;

/** Node's fetch gives up by itself after 300 s without a byte. */
const FETCH_TIMEOUTS: readonly string[] = ['UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT'];

/**
 * Posts JSON and returns a successful response once its headers have arrived.
 *
 * @throws LLMClientError for every other response and for none; the reason of the deadline's signal.
 */
export async function post(target: Target, body: object, deadline: Deadline): Promise<Response> {
  const response = await reach(target, deadline, () =>
    fetch(target.url, request(target, body, deadline.signal)),
  );
  if (response.ok) return response;
  if (isRedirect(response)) throw redirectError(target, response);
  // An error body is short, so all of it must arrive within the time for one read.
  throw statusError(target, response, await deadline.run(() => readError(response, deadline)));
}

/** The body of an error; empty when it is too long or cut. */
async function readError(response: Response, deadline: Deadline): Promise<string> {
  try {
    return (await readText(response, deadline, MAX_ERROR)) ?? '';
  } catch {
    deadline.signal.throwIfAborted();
    return '';
  }
}

/**
 * The body of a response as JSON.
 *
 * @throws ConnectionError when it is cut; ServerError `invalid_response` when it is not JSON or larger than 16 MiB.
 */
export async function readJson(target: Target, response: Response, deadline: Deadline): Promise<unknown> {
  const text = await reach(target, deadline, () => readText(response, deadline, MAX_REPLY));
  if (text === undefined) throw invalidResponse(target, response, TOO_LARGE);
  try {
    return JSON.parse(text);
  } catch {
    throw invalidResponse(target, response, 'the reply is not JSON');
  }
}

/** The server replied, but not in its protocol. */
export function invalidResponse(target: Target, response: Response, what: string): ServerError {
  const info = { status: response.status, code: 'invalid_response', requestId: requestId(response) };
  return new ServerError(`${target.origin}: ${what}`, info);
}

export function requestId(response: Response): string | undefined {
  const id = response.headers.get('x-request-id');
  return id === null ? undefined : oneLine(id, undefined).slice(0, MAX_ID);
}

function request(target: Target, body: object, signal: AbortSignal): RequestInit {
  const headers: Record<string, string> = { 'content-type': 'application/json' };
  if (target.apiKey !== undefined) headers['authorization'] = `Bearer ${target.apiKey}`;
  // A redirect could send key and prompt to a server that nobody configured.
  return {
    method: 'POST',
    headers,
    body: JSON.stringify(body),
    signal,
    redirect: 'manual',
    credentials: 'omit',
  };
}

async function reach<T>(target: Target, deadline: Deadline, operation: () => Promise<T>): Promise<T> {
  try {
    return await deadline.run(operation);
  } catch (thrown) {
    throw deadline.signal.aborted ? thrown : networkError(target, thrown);
  }
}

function networkError(target: Target, thrown: unknown): LLMClientError {
  const code = causeCode(thrown);
  const info = { code: code ?? 'connection_failed', cause: thrown };
  if (code !== undefined && FETCH_TIMEOUTS.includes(code)) {
    return new TimeoutError(`${target.origin} sent nothing for 300 s, the most that fetch waits`, info);
  }
  return new ConnectionError(`no reply from ${target.origin}${code === undefined ? '' : ` (${code})`}`, info);
}

/** The system's code, such as ECONNREFUSED, which Node puts in the cause of `fetch failed`. */
function causeCode(thrown: unknown): string | undefined {
  const code = record(record(thrown)['cause'])['code'];
  return typeof code === 'string' ? code : undefined;
}

/** Browsers report a redirect that was not followed as an opaque response with status 0. */
function isRedirect(response: Response): boolean {
  return response.type === 'opaqueredirect' || (response.status >= 300 && response.status < 400);
}

function redirectError(target: Target, response: Response): ConnectionError {
  const info = { status: response.status || undefined, code: 'redirect', requestId: requestId(response) };
  return new ConnectionError(
    `${target.origin} redirects, which is not followed: give its final address`,
    info,
  );
}

function statusError(target: Target, response: Response, body: string): LLMClientError {
  const { status, headers } = response;
  const { message, code } = describeError(body);
  const info: ErrorInfo = {
    status,
    code: oneLine(code ?? `http_${status}`, target.apiKey),
    requestId: requestId(response),
    retryAfter: retryAfterSeconds(headers, Date.now()),
  };
  return errorForStatus(
    status,
    oneLine(message ?? `${target.origin} answered ${status}`, target.apiKey),
    info,
  );
}

/**
 * The bytes of a response as they arrive; each read must finish within the deadline. Leaving the loop early closes
 * the connection. (Not the stream's own iterator: Safari has none.)
 */
export async function* readBytes(response: Response, deadline: Deadline): AsyncGenerator<Uint8Array> {
  // Node's types leave the chunks of a body open; fetch promises bytes.
  const body: ReadableStream<Uint8Array> | null = response.body;
  const reader = body?.getReader();
  if (reader === undefined) return;
  try {
    for (;;) {
      const { done, value } = await deadline.run(() => reader.read());
      if (done) return;
      yield value;
    }
  } finally {
    // After a failure there is nothing left to cancel.
    reader.cancel().catch(() => undefined);
  }
}

/**
 * The text of a response; undefined, with the rest unread, when it is longer than `maxBytes` bytes.
 *
 * @throws as `readBytes`.
 */
async function readText(
  response: Response,
  deadline: Deadline,
  maxBytes: number,
): Promise<string | undefined> {
  const decoder = new TextDecoder();
  let text = '';
  let size = 0;
  for await (const bytes of readBytes(response, deadline)) {
    size += bytes.length;
    if (size > maxBytes) return undefined;
    text += decoder.decode(bytes, { stream: true });
  }
  return text + decoder.decode();
}

/** Characters; enough for a message, not for a proxy's whole HTML page. */
const MAX_MESSAGE = 500;

/** Characters; redacting a shorter secret would blot out parts of ordinary words. */
const SHORTEST_SECRET = 4;

interface ServerMessage {
  readonly message: string | undefined;
  readonly code: string | undefined;
}

/** Parses the body of an error: OpenAI's object, LMServ's flat one, or a bare string under `error`. */
function describeError(body: string): ServerMessage {
  try {
    return describeErrorValue(JSON.parse(body));
  } catch {
    return { message: undefined, code: undefined };
  }
}

/** The same for a parsed body. */
export function describeErrorValue(body: unknown): ServerMessage {
  const outer = record(body);
  const inner = record(outer['error']);
  const flat = textOrNumber(outer['error']);
  const message = textOrNumber(inner['message']) ?? textOrNumber(outer['message']) ?? flat;
  // In `{"error": code, "message"}` the string is a code, alone it is the message.
  const code = textOrNumber(inner['code']) ?? (outer['message'] === undefined ? undefined : flat);
  return { message, code };
}

/** One line without control characters and without the key, cut at 500 characters. */
export function oneLine(text: string, secret: string | undefined): string {
  const clean = text.replace(/[\p{Cc}\u2028\u2029]+/gu, ' ').trim();
  const safe =
    secret !== undefined && secret.length >= SHORTEST_SECRET ? clean.replaceAll(secret, '[redacted]') : clean;
  return safe.length > MAX_MESSAGE ? `${safe.slice(0, MAX_MESSAGE)}…` : safe;
}

/** A value's fields; none for a value that is not an object. */
export function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

/** A string that is not empty, or a number as text. */
function textOrNumber(value: unknown): string | undefined {
  if (typeof value === 'number') return String(value);
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/**
 * When a server may be asked again, read from `retry-after-ms` or `retry-after` (seconds, or a date); `nowMs` is Unix time
 * in milliseconds.
 *
 * @returns seconds, 0 or more; undefined without a header that can be parsed.
 */
function retryAfterSeconds(headers: Headers, nowMs: number): number | undefined {
  return (
    parseSeconds(headers.get('retry-after-ms'), 1000) ??
    parseSeconds(headers.get('retry-after'), 1) ??
    secondsUntilDate(headers, nowMs)
  );
}

function parseSeconds(value: string | null, divisor: number): number | undefined {
  return value !== null && /^\d{1,9}(\.\d+)?$/.test(value) ? Number(value) / divisor : undefined;
}

function secondsUntilDate(headers: Headers, nowMs: number): number | undefined {
  const at = Date.parse(headers.get('retry-after') ?? '');
  return Number.isNaN(at) ? undefined : Math.max(0, Math.ceil((at - nowMs) / 1000));
}

/**
 * The caller's signal and the time-out in one signal. The clock runs only while `run` waits for the server, so a
 * caller that takes its time between two pieces of a stream is not cut off.
 */
export class Deadline {
  readonly #controller = new AbortController();
  readonly #caller: AbortSignal | undefined;
  readonly #ms: number;
  #end: ReturnType<typeof setTimeout> | undefined;

  /** @param ms how long one `run` may take, milliseconds */
  constructor(ms: number, caller: AbortSignal | undefined) {
    this.#ms = ms;
    this.#caller = caller;
    if (caller?.aborted) this.#forward();
    else caller?.addEventListener('abort', this.#forward);
  }

  readonly #forward = (): void => this.#controller.abort(this.#caller?.reason);

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Ends everything after `ms` milliseconds, whatever still arrives. */
  endWithin(ms: number): void {
    this.#end ??= setTimeout(() => this.#controller.abort(timeoutError(ms)), ms);
  }

  /**
   * Runs an operation that obeys `signal`.
   *
   * @throws TimeoutError after the time; the caller's reason after its abort; else what the operation throws.
   */
  async run<T>(operation: () => Promise<T>): Promise<T> {
    this.signal.throwIfAborted();
    const timer = setTimeout(() => this.#controller.abort(timeoutError(this.#ms)), this.#ms);
    try {
      return await operation();
    } catch (thrown) {
      throw this.signal.aborted ? this.signal.reason : thrown;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Ends what still runs, closes its connection and stops listening to the caller's signal. */
  close(): void {
    this.#caller?.removeEventListener('abort', this.#forward);
    clearTimeout(this.#end);
    this.#controller.abort();
  }
}

function timeoutError(ms: number): TimeoutError {
  return new TimeoutError(`no reply within ${ms / 1000} s (LLM_TIMEOUT_SECS)`, { code: 'timeout' });
}

/**
 * Waits for a promise that does not take a signal.
 *
 * @throws the signal's reason as soon as it aborts; the promise's own outcome is then ignored.
 */
export async function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  const { promise: aborted, reject } = deferred();
  const stop = (): void => reject(signal.reason);
  signal.addEventListener('abort', stop);
  if (signal.aborted) stop();
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

function deferred(): { promise: Promise<never>; reject: (reason: unknown) => void } {
  let reject: (reason: unknown) => void = () => undefined;
  const promise = new Promise<never>((_resolve, fail) => {
    reject = fail;
  });
  return { promise, reject };
}
