import type { GenerateEvent, JsonObject } from '../../contract.js';
import { checkShape } from '../../wire/json-shape.js';
import { ChunkReader } from '../chunks.js';
import { BadReply, ReplyCheck } from '../reply-check.js';
import { broken, fromStreamedError, type Provider, type RemoteFailure } from './failure.js';

/** Events in a row that carry nothing: some servers keep a connection alive with a few. */
const MAX_EMPTY = 10_000;

/** Characters of an event whose shape is looked at before it is parsed: deep nesting takes the parser very long. */
const LARGE = 16 * 1024;

/**
 * Reads a remote server's streamed chunks into events and does not trust them: what is not a chunk breaks the reply, and
 * so does what `ReplyCheck` refuses.
 */
export class ReplyReader {
  readonly #chunks = new ChunkReader();
  readonly #check: ReplyCheck;
  #empty = 0;

  /** @param body the request's. */
  constructor(
    private readonly provider: Provider,
    body: JsonObject,
  ) {
    this.#check = new ReplyCheck(body);
  }

  /** The first token, or the end of an empty reply, has been read. */
  get begun(): boolean {
    return this.#check.begun;
  }

  /** The finish reason has been read: the reply is whole, whatever becomes of the connection. */
  get finished(): boolean {
    return this.#check.finished;
  }

  /** The events one payload stands for. @throws RemoteFailure when it is an error or not part of a sane reply. */
  read(data: string): GenerateEvent[] {
    const events = this.#checked(this.#parse(data));
    this.#empty = events.length > 0 ? 0 : this.#empty + 1;
    if (this.#empty > MAX_EMPTY) throw this.#bad(`sent ${MAX_EMPTY} events in a row without content`);
    return events;
  }

  /** The usage; where the server told none, an estimate. */
  usage(): GenerateEvent {
    return this.#check.usage();
  }

  #checked(events: readonly GenerateEvent[]): GenerateEvent[] {
    try {
      return events.flatMap((event) => this.#check.take(event));
    } catch (thrown) {
      throw thrown instanceof BadReply ? this.#bad(thrown.message) : thrown;
    }
  }

  #parse(data: string): GenerateEvent[] {
    let events: GenerateEvent[];
    let error: unknown;
    try {
      if (data.length > LARGE) checkShape(data, true);
      const chunk = JSON.parse(data) as Chunk;
      error = errorOf(chunk);
      events = error === undefined ? this.#chunks.read(chunk) : [];
    } catch {
      // Without the parser's own words, which quote what was sent.
      throw this.#bad('sent something that is not part of a reply');
    }
    if (error !== undefined) throw fromStreamedError(this.provider, error);
    return events;
  }

  #bad(what: string): RemoteFailure {
    return broken(`The provider ${this.provider.name} ${what}`);
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
