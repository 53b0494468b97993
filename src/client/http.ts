/** One POST over the platform's own fetch, every failure of it typed. */

import { readText } from './body.js';
import type { Deadline } from './deadline.js';
import { ConnectionError, ServerError, TimeoutError, errorForStatus } from './errors.js';
import type { ErrorInfo, LLMClientError } from './errors.js';
import { retryAfterSeconds } from './retry-after.js';
import { describeError, oneLine, record } from './server-message.js';
import type { Target } from './types.js';

/** Bytes of an answer, and of one that is an error, that are read; unpacked, because fetch unpacks by itself. */
const MAX_ANSWER = 16 * 1024 * 1024;
const MAX_ERROR = 64 * 1024;

/** Characters of a request id. */
const MAX_ID = 128;

/** fetch of Node gives up by itself after 300 s without a byte. */
const FETCH_TIMEOUTS: readonly string[] = ['UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT'];

/**
 * Posts JSON and gives the successful answer once its headers are here.
 *
 * @throws LLMClientError for every other answer and for none; the reason of the deadline's signal.
 */
export async function post(target: Target, body: object, deadline: Deadline): Promise<Response> {
  const response = await reach(target, deadline, () =>
    fetch(target.url, request(target, body, deadline.signal)),
  );
  if (response.ok) return response;
  if (isRedirect(response)) throw redirectError(target, response);
  // All of it together has the time that the next bytes of an answer have: it is short.
  throw statusError(target, response, await deadline.run(() => readError(response, deadline)));
}

/** What came with an error, or nothing when it is too long or breaks off. */
async function readError(response: Response, deadline: Deadline): Promise<string> {
  try {
    return (await readText(response, deadline, MAX_ERROR)) ?? '';
  } catch {
    deadline.signal.throwIfAborted();
    return '';
  }
}

/**
 * The body of an answer as JSON.
 *
 * @throws ConnectionError when it is cut; ServerError `invalid_response` when it is not JSON or larger than 16 MiB.
 */
export async function readJson(target: Target, response: Response, deadline: Deadline): Promise<unknown> {
  const text = await reach(target, deadline, () => readText(response, deadline, MAX_ANSWER));
  if (text === undefined) throw invalidResponse(target, response, 'the answer is larger than 16 MiB');
  try {
    return JSON.parse(text);
  } catch {
    throw invalidResponse(target, response, 'the answer is not JSON');
  }
}

/** The server spoke, but not the protocol. */
export function invalidResponse(target: Target, response: Response, what: string): ServerError {
  const info = { status: response.status, code: 'invalid_response', requestId: requestId(response) };
  return new ServerError(`${target.origin}: ${what}`, info);
}

/** What an error says about the answer it came with. */
export function requestId(response: Response): string | undefined {
  const id = response.headers.get('x-request-id');
  return id === null ? undefined : oneLine(id, undefined).slice(0, MAX_ID);
}

function request(target: Target, body: object, signal: AbortSignal): RequestInit {
  const headers: Record<string, string> = { 'content-type': 'application/json' };
  if (target.apiKey !== undefined) headers['authorization'] = `Bearer ${target.apiKey}`;
  // A redirect could carry key and prompt to a server that nobody named.
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
  return new ConnectionError(
    `no answer from ${target.origin}${code === undefined ? '' : ` (${code})`}`,
    info,
  );
}

/** The system's code, such as ECONNREFUSED, that Node hides in the cause of `fetch failed`. */
function causeCode(thrown: unknown): string | undefined {
  const code = record(record(thrown)['cause'])['code'];
  return typeof code === 'string' ? code : undefined;
}

/** Browsers show a redirect that was not followed as an opaque answer with status 0. */
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
