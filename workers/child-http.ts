import { request, type IncomingMessage } from 'node:http';
import { LMServError } from '../src/errors.js';
import { SseDecoder, DONE } from '../src/wire/sse.js';
import { Arrivals } from './event-buffer.js';
import type { Endpoint } from './options.js';

/** The child answered a request with an error of its own. */
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

/** Bytes of an error reply that are read. */
const MAX_ERROR_BODY = 64 * 1024;

/** Bytes of a JSON document that are read. */
const MAX_DOCUMENT = 128 * 1024 * 1024;

/**
 * Posts a request whose reply is an OpenAI stream and yields the data of each event as text, `[DONE]` excluded.
 * A consumer that does not ask holds the child's socket back: no more is read than `Arrivals` keeps.
 *
 * A fresh connection each time, because the child closes its connections after a streamed reply without saying so.
 *
 * @throws ChildRefusal for any status but 200, ConnectionLost for a broken or unfinished stream, LMServError
 *   `unavailable` when we have no descriptor left for it, the signal's reason when it aborts.
 */
export async function* postStream(
  endpoint: Endpoint,
  path: string,
  body: string,
  signal: AbortSignal,
): AsyncGenerator<string> {
  const response = await send(endpoint, 'POST', path, body, signal);
  try {
    if (response.statusCode !== 200) throw await refusal(response);
    const arrivals = new Arrivals(response);
    const events = new SseDecoder();
    const ready: string[] = [];
    for (let text = await arrivals.take(); text !== undefined; text = await arrivals.take()) {
      events.push(text, (data) => ready.push(data));
      for (const data of ready.splice(0)) {
        if (data === DONE) return;
        yield data;
        signal.throwIfAborted();
      }
    }
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof ChildRefusal) throw error;
    throw new ConnectionLost('the stream from the worker broke', { cause: error });
  } finally {
    // Destroying the connection is how a generation is cancelled.
    response.destroy();
  }
  signal.throwIfAborted();
  throw new ConnectionLost('the stream from the worker ended before it was finished');
}

/**
 * Asks for a JSON document.
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
    // After the response this keeps a late socket error from being thrown at nobody; the stream reports it.
    outgoing.on('error', (error) => {
      reject(signal.aborted ? (signal.reason as Error) : unreachable(error));
    });
    outgoing.end(body);
  });
}

/** That we have no descriptor left is no fault of the worker's. */
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
