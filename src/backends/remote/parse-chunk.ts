import { checkShape } from '../../wire/json-shape.js';
import type { Chunk, RawChoice } from '../chunk.js';
import { broken, fromReportedError, type Provider } from './failure.js';

/** Events of more characters have their shape checked before parsing, because deep nesting is very slow to parse. */
const LARGE = 16 * 1024;

/**
 * Parses one event of a remote server's stream, or a reply in one piece. Pure.
 *
 * @param event the type of the event.
 * @throws RemoteFailure when it is an error or not an object.
 */
export function parseChunk(provider: Provider, data: string, event?: string): Chunk {
  if (PINGS.has(event) || PINGS.has(data)) return {};
  const chunk = parseObject(data);
  if (event === 'error') throw fromReportedError(provider, chunk ?? data);
  // Without the parser's message, which quotes the data.
  if (!chunk) throw broken(`The provider ${provider.name} sent something that is not part of a reply`);
  const error = errorOf(chunk);
  if (error !== undefined) throw fromReportedError(provider, error);
  return chunk;
}

type RemoteChunk = Chunk & Readonly<Record<string, unknown>>;

function parseObject(data: string): RemoteChunk | undefined {
  try {
    if (data.length > LARGE) checkShape(data, true);
    const parsed = JSON.parse(data) as unknown;
    // Google puts its errors in a list.
    const value: unknown = Array.isArray(parsed) ? parsed[0] : parsed;
    return typeof value === 'object' && value !== null ? (value as RemoteChunk) : undefined;
  } catch {
    return undefined;
  }
}

/** OpenAI sends an error event; OpenRouter a finish reason `error`, with the error beside it or in it. */
function errorOf(chunk: RemoteChunk): unknown {
  if (chunk.error) return chunk;
  const choice = Array.isArray(chunk.choices)
    ? (chunk.choices[0] as { error?: unknown } & RawChoice)
    : undefined;
  if (choice?.error) return choice;
  if (choice?.finish_reason === 'error') return {};
  return !chunk.choices && saysError(chunk) ? chunk : undefined;
}

/** Types of events, or their whole data, that only keep a connection alive. */
const PINGS: ReadonlySet<unknown> = new Set(['ping', 'heartbeat', 'keepalive', 'keep-alive']);

/** Without choices, a message can only be an error: vLLM's, FastAPI's, Cloudflare's, MiniMax's and others' forms. */
function saysError(chunk: RemoteChunk): boolean {
  const { object, type, status, success, message, msg, detail, errors, base_resp: response } = chunk;
  if (PINGS.has(type)) return false;
  if (object === 'error' || type === 'error' || status === 'error' || success === false) return true;
  if ([message, msg, detail, errors].some((words) => (Array.isArray(words) ? words.length > 0 : words)))
    return true;
  return Boolean((response as { status_code?: unknown } | undefined)?.status_code);
}
