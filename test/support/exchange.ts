import { once } from 'node:events';
import {
  request,
  type Agent,
  type ClientRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
} from 'node:http';

/** One HTTP exchange as the wire has it: chunks as they came, trailers, and whether the reply was cut. */
export interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly trailers: NodeJS.Dict<string>;
  /** One for each chunk that the server sent. */
  readonly chunks: readonly string[];
  readonly text: string;
  /** The connection ended before the last chunk. */
  readonly cut: boolean;
}

export interface Ask {
  readonly method?: string;
  readonly headers?: Record<string, string>;
  /** An object is sent as JSON, a text or bytes as they are. */
  readonly body?: object | string | Buffer | undefined;
  /** Keeps connections; by default each request has its own. */
  readonly agent?: Agent;
}

/** Sends a request and resolves with the beginning of its reply, of which nothing is read yet. */
export async function begin(url: string, ask: Ask = {}): Promise<IncomingMessage> {
  const [response] = (await once(send(url, ask), 'response')) as [IncomingMessage];
  return response.setEncoding('utf8');
}

function send(url: string, { method = 'POST', headers = {}, body, agent }: Ask): ClientRequest {
  const bytes = typeof body === 'object' && !Buffer.isBuffer(body) ? JSON.stringify(body) : body;
  const type = bytes === undefined ? {} : { 'Content-Type': 'application/json' };
  return request(url, { method, agent: agent ?? false, headers: { ...type, ...headers } }).end(bytes);
}

/** A request under way. */
export class Exchange {
  readonly #outgoing;
  readonly #chunks: string[] = [];
  readonly #begun: Promise<IncomingMessage>;
  /** The reply, whole or cut. Rejects when the connection breaks before its head. */
  readonly reply: Promise<Reply>;

  constructor(url: string, ask: Ask) {
    this.#outgoing = send(url, ask);
    this.#begun = new Promise((resolve, reject) => {
      this.#outgoing.once('error', reject).once('response', (response) => {
        // At once: what is buffered before anybody listens is no longer one event a chunk.
        response.setEncoding('utf8').on('data', (chunk: string) => this.#chunks.push(chunk));
        // What a cut reply emits; `complete` says it as well.
        response.on('error', () => undefined);
        resolve(response);
      });
    });
    this.reply = this.#begun.then((response) => this.#read(response));
    this.reply.catch(() => undefined);
  }

  /** Resolves with the text so far when the first chunk has come. */
  async firstChunk(): Promise<string> {
    const response = await this.#begun;
    if (this.#chunks.length === 0) await once(response, 'data');
    return this.received;
  }

  /** How many chunks have come. */
  get chunks(): number {
    return this.#chunks.length;
  }

  get received(): string {
    return this.#chunks.join('');
  }

  /** The client goes away. */
  abort(): void {
    this.#outgoing.destroy();
  }

  async #read(response: IncomingMessage): Promise<Reply> {
    if (!response.closed) await new Promise((resolve) => response.once('close', resolve));
    return {
      status: response.statusCode!,
      headers: response.headers,
      trailers: response.trailers,
      chunks: this.#chunks,
      text: this.received,
      cut: !response.complete,
    };
  }
}

/** Sends a request and reads the whole reply. */
export function exchange(url: string, ask: Ask = {}): Promise<Reply> {
  return new Exchange(url, ask).reply;
}

export const get = (url: string, headers: Record<string, string> = {}): Promise<Reply> =>
  exchange(url, { method: 'GET', headers });

export const json = (reply: Reply): any => JSON.parse(reply.text);

/** The status of a reply in JSON, beside its fields. */
export const outcome = (reply: Reply): any => ({ status: reply.status, ...json(reply) });

/** The status of a reply that is OpenAI's error, beside the error's fields. */
export const refusal = (reply: Reply): any => ({ status: reply.status, ...json(reply).error });

/** The lines of an NDJSON reply; every one of them is whole. */
export const lines = (reply: Pick<Reply, 'text'>): any[] =>
  reply.text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line));

/** The texts of an NDJSON reply's chunks. */
export const chunkTexts = (reply: Reply): string[] =>
  lines(reply).flatMap((line) => (line.type === 'chunk' ? [line.text] : []));

/** Parses the `data:` payloads of an SSE text; `[DONE]` stays a string. */
export function sseData(text: string): any[] {
  return text
    .split('\n\n')
    .filter((block) => block.startsWith('data: '))
    .map((block) => (block === 'data: [DONE]' ? '[DONE]' : JSON.parse(block.slice(6))));
}
