import { request, type Agent, type ClientRequest, type IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { Flow } from '../src/contract.js';
import { LMServError } from '../src/errors.js';
import { paced } from '../src/wire/images.js';
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

/** One event of a child's reply, parsed; nothing of it has been checked. */
export interface ChildChunk {
  readonly choices?: readonly (object | null)[] | null;
  readonly prompt_progress?: object | null;
  readonly usage?: object | null;
  readonly error?: { readonly code?: number; readonly type?: string; readonly message?: string } | null;
}

/** Receives the events of a reply. */
export interface ChunkSink {
  /** Called synchronously with each event; what it throws ends the reply and is thrown. */
  chunk(chunk: ChildChunk): void;
}

export interface StreamOptions {
  readonly signal: AbortSignal;
  /** Must not keep connections alive. Its `destroy` ends the stream. */
  readonly agent: Agent;
  /** Holds the child's socket back while the client does not read. */
  readonly flow: Flow;
  /** Records the arrival of events. */
  readonly activity: Activity;
  /** What lets the replies that are held back go on. */
  readonly held: Set<() => void>;
  readonly reply: ChunkSink;
}

/** A JSON text, perhaps in pieces. */
type Text = string | Iterable<string>;

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
  body: Text,
  options: StreamOptions,
): Promise<void> {
  return exchange(endpoint, 'POST', path, body, options, (response) => readStream(response, options));
}

/** Listens to the response instead of iterating it: this runs once per token. */
function readStream(
  response: IncomingMessage,
  { flow, activity, held, reply }: StreamOptions,
): Promise<void> {
  const events = new SseDecoder();
  const goOn = () => {
    held.delete(goOn);
    activity.held = false;
    activity.awaitedSince = performance.now();
    response.resume();
  };
  const pause = () => {
    held.add(goOn);
    activity.held = true;
    response.pause();
  };
  const detach = flow.attach({ pause, resume: goOn });
  return new Promise<void>((resolve, reject) => {
    let settled = false;
    let readAt = 0;
    const fail = (error: Error) => {
      settled = true;
      reject(error);
    };
    const lost = (message: string, cause?: Error) => {
      if (!settled) fail(new ConnectionLost(message, { cause }));
    };
    const onData = (data: string) => {
      if (settled) return;
      activity.progressAt = readAt;
      if (data === DONE) {
        settled = true;
        return resolve();
      }
      const chunk = parseChunk(data);
      // Prefill events carry progress, or the role that opens a message; everything else is a token.
      if (chunk.prompt_progress === undefined) activity.phase = 'decode';
      reply.chunk(chunk);
    };
    const pace = new Pace(response, () => activity.held);
    // Much cheaper than a TextDecoder, which decodes for whoever has bytes only.
    response.setEncoding('utf8').on('data', (text: string) => {
      readAt = performance.now();
      try {
        events.push(text, onData);
        pace.note(readAt);
      } catch (error) {
        fail(error as Error);
      }
    });
    response.once('error', (error) => lost('the stream from the worker broke', error));
    response.once('end', () => lost('the stream from the worker ended before it was finished'));
    response.once('close', () => lost('the stream from the worker ended before it was finished'));
  }).finally(() => {
    detach();
    held.delete(goOn);
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
  const { code, type, message } = chunk.error;
  throw new ChildRefusal(code ?? 500, type ?? 'unknown', message ?? 'unknown');
}

/**
 * Fetches a JSON document.
 *
 * @param agent must not keep connections alive; its `destroy` ends the request.
 * @throws ChildRefusal, ConnectionLost, LMServError or the signal's reason, as `postStream`.
 */
export async function fetchJson(
  endpoint: Endpoint,
  method: 'GET' | 'POST',
  path: string,
  body: Text | undefined,
  signal: AbortSignal,
  agent?: Agent,
): Promise<unknown> {
  return exchange(endpoint, method, path, body, { signal, agent }, async (response) => {
    try {
      return JSON.parse(await readText(response, MAX_DOCUMENT)) as unknown;
    } catch (error) {
      throw new ConnectionLost('the reply of the worker broke', { cause: error });
    }
  });
}

/** Sends a request and reads its response; the connection ends with it, which cancels a generation. */
async function exchange<T>(
  endpoint: Endpoint,
  method: string,
  path: string,
  body: Text | undefined,
  { signal, agent }: { readonly signal: AbortSignal; readonly agent?: Agent | undefined },
  read: (response: IncomingMessage) => Promise<T>,
): Promise<T> {
  signal.throwIfAborted();
  const outgoing = open(endpoint, method, path, agent ?? false, body);
  // A response that has arrived but was not read has no connection any more that could be cut.
  let response: IncomingMessage | undefined;
  const cut = () => void (response ?? outgoing).destroy();
  signal.addEventListener('abort', cut);
  try {
    response = await responseTo(outgoing);
    if (response.statusCode !== 200) throw await refusal(response);
    return await read(response);
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    signal.removeEventListener('abort', cut);
    cut();
  }
}

function open(
  endpoint: Endpoint,
  method: string,
  path: string,
  agent: Agent | false,
  body: Text | undefined,
): ClientRequest {
  const where =
    'port' in endpoint ? { host: '127.0.0.1', port: endpoint.port } : { socketPath: endpoint.socketPath };
  const headers: Record<string, string | number> = { host: 'localhost', connection: 'close' };
  if ('apiKey' in endpoint) headers.authorization = `Bearer ${endpoint.apiKey}`;
  if (body !== undefined) headers['content-type'] = 'application/json';
  if (typeof body === 'string') headers['content-length'] = Buffer.byteLength(body);
  const outgoing = request({ ...where, method, path, headers, agent });
  outgoing.setNoDelay(true);
  if (body === undefined || typeof body === 'string') outgoing.end(body);
  else Readable.from(paced(body), { highWaterMark: 1 }).pipe(outgoing);
  return outgoing;
}

function responseTo(outgoing: ClientRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    outgoing.once('response', resolve);
    // After the response, a late socket error would otherwise be uncaught; the stream reports it.
    outgoing.on('error', (error) => reject(unreachable(error)));
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
