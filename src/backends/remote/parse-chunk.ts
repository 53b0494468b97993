import { checkShape } from '../../wire/json-shape.js';
import type { Chunk } from '../reply-reader.js';
import { broken, fromStreamedError, type Provider } from './failure.js';

/** Events of more characters have their shape checked before parsing, because deep nesting is very slow to parse. */
const LARGE = 16 * 1024;

/** Parses one event of a remote server's stream. Pure. @throws RemoteFailure when it is an error or not an object. */
export function parseChunk(provider: Provider, data: string): Chunk {
  const chunk = parseObject(data);
  // Without the parser's message, which quotes the data.
  if (!chunk) throw broken(`The provider ${provider.name} sent something that is not part of a reply`);
  const error = errorOf(chunk);
  if (error !== undefined) throw fromStreamedError(provider, error);
  return chunk;
}

type RemoteChunk = Chunk & {
  readonly error?: unknown;
  readonly choices?:
    readonly ({ readonly finish_reason?: unknown; readonly error?: unknown } | null)[] | null;
};

function parseObject(data: string): RemoteChunk | undefined {
  try {
    if (data.length > LARGE) checkShape(data, true);
    const value = JSON.parse(data) as unknown;
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

/** OpenAI sends an error event; OpenRouter a finish reason `error`, with the error beside it or in it. */
function errorOf(chunk: RemoteChunk): unknown {
  const choice = chunk.choices?.[0];
  const error = chunk.error ?? choice?.error ?? undefined;
  return error ?? (choice?.finish_reason === 'error' ? {} : undefined);
}
