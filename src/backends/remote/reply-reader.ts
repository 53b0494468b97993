import type { GenerateEvent, Usage } from '../../contract.js';
import { ChunkReader } from '../chunks.js';
import { broken, fromStreamedError, type Provider } from './failure.js';

/**
 * Reads a remote server's streamed chunks into events and does not trust them: what is not of a chunk's form breaks
 * the reply, a second finish is dropped, and usage, which some servers send with every chunk, is kept for the end.
 */
export class ReplyReader {
  readonly #chunks = new ChunkReader();
  #usage: Usage | undefined;
  #promptTokens = 0;
  #deltas = 0;
  #finished = false;

  constructor(private readonly provider: Provider) {}

  /** The first token, or the end of an empty reply, has been read. */
  get begun(): boolean {
    return this.#deltas > 0 || this.#finished;
  }

  /** The finish reason has been read: the reply is whole, whatever becomes of the connection. */
  get finished(): boolean {
    return this.#finished;
  }

  /** The events one payload stands for. @throws RemoteFailure when it is an error or no chunk. */
  read(data: string): GenerateEvent[] {
    return this.#parse(data).filter((event) => this.#accept(event));
  }

  /**
   * The usage. Where the server told none, tokens are counted as deltas, which is close but not exact for servers that
   * send several tokens at once, and the prompt's are 0 unless prefill progress told them.
   */
  usage(): GenerateEvent {
    const counted = { promptTokens: this.#promptTokens, completionTokens: this.#deltas, cachedTokens: 0 };
    return { type: 'usage', usage: this.#usage ?? counted };
  }

  #parse(data: string): GenerateEvent[] {
    let events: GenerateEvent[];
    let error: unknown;
    try {
      const chunk = JSON.parse(data) as Chunk;
      error = errorOf(chunk);
      events = error === undefined ? this.#chunks.read(chunk) : [];
    } catch {
      // Without the parser's own words, which quote what was sent.
      throw this.#notAChunk();
    }
    if (error !== undefined) throw fromStreamedError(this.provider, error);
    if (!events.every(isWellFormed)) throw this.#notAChunk();
    return events;
  }

  #accept(event: GenerateEvent): boolean {
    if (event.type === 'usage') {
      this.#usage = event.usage;
      return false;
    }
    if (this.#finished) return false;
    if (event.type === 'prefill') this.#promptTokens = event.promptTokens;
    else if (event.type === 'finish') this.#finished = true;
    else this.#deltas += 1;
    return true;
  }

  #notAChunk() {
    return broken(`The provider ${this.provider.name} sent what is no chunk of a reply`);
  }
}

interface Chunk {
  readonly [field: string]: unknown;
  readonly error?: unknown;
  readonly choices?: readonly { readonly finish_reason?: unknown; readonly error?: unknown }[];
}

/** OpenAI's servers send an error event; OpenRouter a finish reason `error`, with the error beside it or in it. */
function errorOf(chunk: Chunk): unknown {
  const choice = chunk.choices?.[0];
  const error = chunk.error ?? choice?.error ?? undefined;
  return error ?? (choice?.finish_reason === 'error' ? {} : undefined);
}

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;

function isWellFormed(event: GenerateEvent): boolean {
  switch (event.type) {
    case 'text':
    case 'reasoning':
      return typeof event.text === 'string';
    case 'tool_call':
      return isCount(event.call.index) && [event.call.id, event.call.name].every(isTextOrAbsent);
    case 'prefill':
      return isCount(event.promptTokens);
    case 'usage':
      return Object.values(event.usage).every(isCount);
    case 'finish':
      return true;
  }
}

function isTextOrAbsent(value: unknown): boolean {
  return value === undefined || typeof value === 'string';
}
