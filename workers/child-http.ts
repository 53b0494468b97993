import { request, type IncomingMessage } from 'node:http';
import type { Flow } from '../src/contract.js';
import { LMServError } from '../src/errors.js';
import { Pace } from '../src/wire/pace.js';
import { SseDecoder, DONE } from '../src/wire/sse.js';
import type { Endpoint } from './options.js';
import type { Activity } from './progress.js';

/** The child replied to a request with an error. */
export class ChildRefusal extends Error {
  override readonly name = 'ChildRefusal';
  constructor(
    readonly status: number,
    readonly type: string,
    message: string,
  ) {
    super(message);
  }
}

/** The connection to the child broke, or its stream ended before it was finished. */
export class ConnectionLost extends Error {
  override readonly name = 'ConnectionLost';
}

/** Max bytes read of an error reply. */
const MAX_ERROR_BODY = 64 * 1024;

/** Max bytes read of a JSON document. */
const MAX_DOCUMENT = 128 * 1024 * 1024;

/** One event of a child's reply, parsed. */
export interface ChildChunk {
  readonly choices?: readonly unknown[];
  readonly prompt_progress?: { readonly total: number; readonly cache: number };
  readonly [field: string]: unknown;
}

export interface StreamOptions {
  readonly signal: AbortSignal;
  /** Holds the child's socket back while the client does not read. */
  readonly flow: Flow;
  /** Records the arrival of events. */
  readonly activity: Activity;
  /** Called synchronously with each event; what it throws ends the reply and is thrown. */
  readonly onChunk: (chunk: ChildChunk) => void;
}

/**
 * Posts a request whose reply is an OpenAI stream, and resolves at its end.
 *
 * Each request has a fresh connection, because the child closes connections after a streamed reply without announcing it.
 *
 * @throws ChildRefusal for any status but 200 or an error inside the stream, ConnectionLost for a broken or unfinished
 *   stream, LMServError `unavailable` when no file descriptor is left, the signal's reason when it aborts.
 */
export async function postStream(
  endpoint: Endpoint,
  path: string,
  body: string,
  options: StreamOptions,
): Promise<void> {
  const response = await send(endpoint, 'POST', path, body, options.signal);
  try {
    if (response.statusCode !== 200) throw await refusal(response);
    await readStream(response, options);
  } catch (error) {
    options.signal.throwIfAborted();
    throw error;
  } finally {
    // Destroying the connection is how a generation is cancelled.
    response.destroy();
  }
}

/** Listens to the socket instead of iterating it: this runs once per token. */
function readStream(
  response: IncomingMessage,
  { signal, flow, activity, onChunk }: StreamOptions,
): Promise<void> {
  const events = new SseDecoder();
  const detach = flow.attach({
    pause: () => {
      activity.held = true;
      response.pause();
    },
    resume: () => {
      activity.held = false;
      activity.awaitedSince = performance.now();
      response.resume();
    },
  });
  let onAbort: () => void;
  return new Promise<void>((resolve, reject) => {
    let settled = false;
    const fail = (error: Error) => {
      settled = true;
      reject(error);
    };
    const lost = (message: string, cause?: Error) => {
      if (!settled) fail(new ConnectionLost(message, { cause }));
    };
    const onData = (data: string) => {
      if (settled) return;
      activity.progressAt = performance.now();
      if (data === DONE) {
        settled = true;
        return resolve();
      }
      const chunk = parseChunk(data);
      // Prefill events carry progress, or the role that opens a message; everything else is a token.
      if (chunk.prompt_progress === undefined) activity.phase = 'decode';
      onChunk(chunk);
    };
    const pace = new Pace(response, () => activity.held);
    response.on('data', (bytes: Buffer) => {
      try {
        pace.run(() => events.push(bytes, onData));
      } catch (error) {
        fail(error as Error);
      }
    });
    // A reply that has arrived completely but is held back no longer has a connection that could signal the end.
    onAbort = () => fail(signal.reason as Error);
    signal.addEventListener('abort', onAbort);
    if (signal.aborted) onAbort();
    response.once('error', (error) => lost('the stream from the worker broke', error));
    response.once('end', () => lost('the stream from the worker ended before it was finished'));
    response.once('close', () => lost('the stream from the worker ended before it was finished'));
  }).finally(() => {
    // A signal made of others is never collected while it has a listener, nor is what the listener holds.
    signal.removeEventListener('abort', onAbort);
    detach();
  });
}

/** @throws ChildRefusal for an error that the child reports in its stream, ConnectionLost for one that is not JSON. */
function parseChunk(data: string): ChildChunk {
  let chunk: ChildChunk;
  try {
    chunk = JSON.parse(data) as ChildChunk;
  } catch (cause) {
    throw new ConnectionLost('the worker sent an event that is not JSON', { cause });
  }
  if (chunk.error === undefined || chunk.error === null) return chunk;
  const { code, type, message } = chunk.error as { code?: number; type?: string; message?: string };
  throw new ChildRefusal(code ?? 500, type ?? 'unknown', message ?? 'unknown');
}

/**
 * Fetches a JSON document.
 *
 * @throws ChildRefusal, ConnectionLost, LMServError or the signal's reason, as `postStream`.
 */
export async function fetchJson(
  endpoint: Endpoint,
  method: 'GET' | 'POST',
  path: string,
  body: string | undefined,
  signal: AbortSignal,
): Promise<unknown> {
  const response = await send(endpoint, method, path, body, signal);
  if (response.statusCode !== 200) throw await refusal(response);
  try {
    return JSON.parse(await readText(response, MAX_DOCUMENT)) as unknown;
  } catch (error) {
    signal.throwIfAborted();
    throw new ConnectionLost('the reply of the worker broke', { cause: error });
  }
}

function send(
  endpoint: Endpoint,
  method: string,
  path: string,
  body: string | undefined,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const where =
    'port' in endpoint ? { host: '127.0.0.1', port: endpoint.port } : { socketPath: endpoint.socketPath };
  const headers: Record<string, string | number> = { host: 'localhost', connection: 'close' };
  if ('apiKey' in endpoint) headers.authorization = `Bearer ${endpoint.apiKey}`;
  if (body !== undefined) {
    headers['content-type'] = 'application/json';
    headers['content-length'] = Buffer.byteLength(body);
  }
  return new Promise((resolve, reject) => {
    const outgoing = request({ ...where, method, path, headers, agent: false, signal });
    outgoing.setNoDelay(true);
    outgoing.once('response', resolve);
    // After the response, a late socket error would otherwise be uncaught; the stream reports it.
    outgoing.on('error', (error) => {
      reject(signal.aborted ? (signal.reason as Error) : unreachable(error));
    });
    outgoing.end(body);
  });
}

/** A lack of descriptors in this process is not the worker's fault. */
function unreachable(error: NodeJS.ErrnoException): Error {
  if (error.code === 'EMFILE' || error.code === 'ENFILE')
    return new LMServError('unavailable', 'The server has no file descriptor left', { cause: error });
  return new ConnectionLost('the worker cannot be reached', { cause: error });
}

async function refusal(response: IncomingMessage): Promise<ChildRefusal> {
  const text = await readText(response, MAX_ERROR_BODY).catch(() => '');
  const status = response.statusCode ?? 0;
  try {
    const { error } = JSON.parse(text) as { error: { type?: unknown; message?: unknown } };
    return new ChildRefusal(status, String(error.type), String(error.message));
  } catch {
    return new ChildRefusal(status, 'unknown', text.slice(0, 200));
  }
}

async function readText(response: IncomingMessage, limit: number): Promise<string> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of response as AsyncIterable<Buffer>) {
    parts.push(part);
    size += part.length;
    if (size > limit) break;
  }
  return Buffer.concat(parts).toString('utf8');
}
