import { request as httpRequest, type ClientRequest, type IncomingMessage } from 'node:http';

/** Where the server is, and the key to it. */
export interface Target {
  readonly port: number;
  readonly key: string;
}

/** What is sent. */
export interface Call {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly body?: string;
  /** In the place of the usual ones. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** How the client behaves. Times are milliseconds. */
export type Manner =
  | { readonly kind: 'patient' }
  /** Pauses so long each time something came, until no pause is left. */
  | { readonly kind: 'slow'; readonly pauses: readonly number[] }
  /** Goes away when no reply has begun by then. */
  | { readonly kind: 'leavesWaiting'; readonly afterMs: number }
  /** Goes away once so many pieces have come. */
  | { readonly kind: 'leavesStreaming'; readonly afterPieces: number }
  /** Sends half of its body and goes away. */
  | { readonly kind: 'leavesSending'; readonly afterMs: number };

/** What the client saw. */
export interface Exchange {
  /** undefined: no reply began. */
  readonly status: number | undefined;
  readonly body: string;
  /** The reply came to its end as HTTP has it. */
  readonly complete: boolean;
  readonly trailers: Readonly<Record<string, string | undefined>>;
  /** The client ended it: by going away, or because nothing came for too long. */
  readonly gaveUp: 'left' | 'hung' | undefined;
  /** The system's word for a broken connection, such as `ECONNRESET`. */
  readonly failure: string | undefined;
  /** Milliseconds. */
  readonly ms: number;
}

/** A request that has not ended by then is lost, milliseconds: longer than the server's own limits taken together. */
export const HANG_MS = 120_000;

const PATIENT: Manner = { kind: 'patient' };

/** One request over a connection of its own. Never rejects: whatever happens is what the client saw. */
export function exchange(target: Target, call: Call, manner: Manner = PATIENT): Promise<Exchange> {
  return new Promise((resolve) => new Conversation(target, call, manner, resolve));
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

  constructor(
    target: Target,
    call: Call,
    private readonly manner: Manner,
    private readonly resolve: (exchange: Exchange) => void,
  ) {
    this.#pauses = manner.kind === 'slow' ? [...manner.pauses] : [];
    this.#hang = setTimeout(() => this.#giveUp('hung'), HANG_MS);
    this.#request = httpRequest({
      host: '127.0.0.1',
      port: target.port,
      method: call.method,
      path: call.path,
      agent: false,
      headers: headersOf(target, call),
    });
    this.#request.on('error', (error) => this.#fail(error));
    this.#request.on('response', (response) => this.#read(response));
    this.#request.on('close', () => this.#response ?? this.#settle());
    this.#send(call.body);
  }

  #send(body: string | undefined): void {
    const { manner } = this;
    if (manner.kind === 'leavesSending') this.#request.write(body!.slice(0, body!.length / 2));
    else this.#request.end(body);
    if (manner.kind === 'leavesSending' || manner.kind === 'leavesWaiting')
      this.#leave = setTimeout(() => this.#giveUp('left'), manner.afterMs);
  }

  #read(response: IncomingMessage): void {
    this.#response = response;
    if (this.manner.kind === 'leavesWaiting') clearTimeout(this.#leave);
    response.on('error', (error) => this.#fail(error));
    response.on('close', () => this.#settle());
    response.on('end', () => this.#end(response));
    response.on('data', (piece: Buffer) => this.#take(piece, response));
  }

  #take(piece: Buffer, response: IncomingMessage): void {
    this.#pieces.push(piece);
    const { manner } = this;
    if (manner.kind === 'leavesStreaming' && this.#pieces.length >= manner.afterPieces) this.#giveUp('left');
    const pause = this.#pauses.shift();
    if (pause === undefined) return;
    response.pause();
    setTimeout(() => response.resume(), pause);
  }

  /** A reply that is given up is read to its end unseen. */
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
    this.resolve({
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

function headersOf({ key }: Target, { body, headers }: Call): Record<string, string | number> {
  const length = body === undefined ? {} : { 'Content-Length': Buffer.byteLength(body) };
  return { 'X-API-Key': key, 'Content-Type': 'application/json', ...headers, ...length };
}
