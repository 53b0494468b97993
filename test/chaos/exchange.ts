import { request as httpRequest, type ClientRequest, type IncomingMessage } from 'node:http';
import { KEY } from '../harness/server-process.js';

/** What is sent. */
export interface Call {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly body?: string;
  /** Instead of the usual ones. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** How the client behaves. Times are milliseconds. */
export type Manner =
  | { readonly kind: 'patient' }
  /** Pauses that long after each piece, until no pause is left. */
  | { readonly kind: 'slow'; readonly pauses: readonly number[] }
  /** Disconnects if no reply has begun by then. */
  | { readonly kind: 'leavesWaiting'; readonly afterMs: number }
  /** Disconnects after that many pieces. */
  | { readonly kind: 'leavesStreaming'; readonly afterPieces: number }
  /** Sends half of its body and disconnects. */
  | { readonly kind: 'leavesSending'; readonly afterMs: number };

/** What the client saw. */
export interface Exchange {
  /** undefined: no reply began. */
  readonly status: number | undefined;
  readonly body: string;
  /** The reply ended as HTTP requires. */
  readonly complete: boolean;
  readonly trailers: Readonly<Record<string, string | undefined>>;
  /** The client ended it: it disconnected, or nothing came for too long. */
  readonly gaveUp: 'left' | 'hung' | undefined;
  /** The system's code of a broken connection, such as `ECONNRESET`. */
  readonly failure: string | undefined;
  /** Milliseconds. */
  readonly ms: number;
}

/** A request that takes longer is lost, milliseconds: more than the server's own limits together. */
export const HANG_MS = 120_000;

const PATIENT: Manner = { kind: 'patient' };

/** One request on its own connection. Never rejects: whatever happens is what the client saw. */
export function exchange(port: number, call: Call, manner: Manner = PATIENT): Promise<Exchange> {
  return new Promise((resolve) => new Conversation(port, call, manner, resolve));
}

class Conversation {
  readonly #began = performance.now();
  readonly #request: ClientRequest;
  readonly #pieces: Buffer[] = [];
  readonly #pauses: number[];
  readonly #hang: NodeJS.Timeout;
  #leave: NodeJS.Timeout | undefined;
  #response: IncomingMessage | undefined;
  #complete = false;
  #gaveUp: Exchange['gaveUp'];
  #failure: string | undefined;

  readonly #manner: Manner;
  readonly #resolve: (exchange: Exchange) => void;

  constructor(port: number, call: Call, manner: Manner, resolve: (exchange: Exchange) => void) {
    this.#manner = manner;
    this.#resolve = resolve;
    this.#pauses = manner.kind === 'slow' ? [...manner.pauses] : [];
    this.#hang = setTimeout(() => this.#giveUp('hung'), HANG_MS);
    this.#request = httpRequest({
      host: '127.0.0.1',
      port,
      method: call.method,
      path: call.path,
      agent: false,
      headers: headersOf(call),
    });
    this.#request.on('error', (error) => this.#fail(error));
    this.#request.on('response', (response) => this.#read(response));
    this.#request.on('close', () => this.#response ?? this.#settle());
    this.#send(call.body);
  }

  #send(body: string | undefined): void {
    const manner = this.#manner;
    if (manner.kind === 'leavesSending') this.#request.write(body!.slice(0, body!.length / 2));
    else this.#request.end(body);
    if (manner.kind === 'leavesSending' || manner.kind === 'leavesWaiting')
      this.#leave = setTimeout(() => this.#giveUp('left'), manner.afterMs);
  }

  #read(response: IncomingMessage): void {
    this.#response = response;
    if (this.#manner.kind === 'leavesWaiting') clearTimeout(this.#leave);
    response.on('error', (error) => this.#fail(error));
    response.on('close', () => this.#settle());
    response.on('end', () => this.#end(response));
    response.on('data', (piece: Buffer) => this.#take(piece, response));
  }

  #take(piece: Buffer, response: IncomingMessage): void {
    this.#pieces.push(piece);
    const manner = this.#manner;
    if (manner.kind === 'leavesStreaming' && this.#pieces.length >= manner.afterPieces) this.#giveUp('left');
    const pause = this.#pauses.shift();
    if (pause === undefined) return;
    response.pause();
    setTimeout(() => response.resume(), pause);
  }

  /** The rest of a reply that the client gave up does not count. */
  #end({ complete }: IncomingMessage): void {
    if (this.#gaveUp === undefined) this.#complete = complete;
  }

  #giveUp(how: 'left' | 'hung'): void {
    if (this.#complete) return;
    this.#gaveUp ??= how;
    this.#request.destroy();
  }

  #fail(error: NodeJS.ErrnoException): void {
    this.#failure ??= error.code ?? error.message;
  }

  #settle(): void {
    clearTimeout(this.#hang);
    clearTimeout(this.#leave);
    this.#resolve({
      status: this.#response?.statusCode,
      body: Buffer.concat(this.#pieces).toString(),
      complete: this.#complete,
      trailers: this.#response?.trailers ?? {},
      gaveUp: this.#gaveUp,
      failure: this.#failure,
      ms: performance.now() - this.#began,
    });
  }
}

function headersOf({ body, headers }: Call): Record<string, string | number> {
  const length = body === undefined ? {} : { 'Content-Length': Buffer.byteLength(body) };
  return { 'X-API-Key': KEY, 'Content-Type': 'application/json', ...headers, ...length };
}
