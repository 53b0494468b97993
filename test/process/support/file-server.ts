import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { serve } from '../../support/fake-server.js';

export interface ServedFile {
  body: Buffer;
  etag?: string;
  /** Bytes after which the reply stops, once for each entry, until `cut()` breaks its connection. */
  cuts?: number[];
  /** Statuses to reply with first, one request each. */
  failures?: number[];
  /** Leaves out Content-Length and ends the body early, as if whole. */
  truncateTo?: number;
}

export interface SeenRequest {
  path: string;
  range: string | undefined;
  authorization: string | undefined;
}

/** A local HTTP server of files, until the end of the test, that misbehaves as the test says. */
export class FileServer {
  readonly files = new Map<string, ServedFile>();
  readonly redirects = new Map<string, string>();
  readonly seen: SeenRequest[] = [];
  readonly #server: Server = createServer((request, response) => this.#answer(request, response));
  #url = '';

  static async start(): Promise<FileServer> {
    const started = new FileServer();
    started.#url = await serve(started.#server);
    return started;
  }

  /** The server's address under one of the loopback's names, which are different origins. */
  url(path = '', host = '127.0.0.1'): string {
    return this.#url.replace('127.0.0.1', host) + path;
  }

  /** Breaks all connections there are. */
  cut(): void {
    this.#server.closeAllConnections();
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = request.url ?? '';
    const { range, authorization } = request.headers;
    this.seen.push({ path, range, authorization });
    const target = this.redirects.get(path);
    const file = this.files.get(path);
    if (target !== undefined) response.writeHead(302, { location: target }).end();
    else if (file === undefined) response.writeHead(404).end('none');
    else send(file, request, response);
  }
}

/** Where the reply starts: at the range's first byte, if the file is still the one that is meant. */
function startOf({ etag }: ServedFile, { headers }: IncomingMessage): number {
  const first = /^bytes=(\d+)-$/.exec(headers.range ?? '')?.[1];
  const ifRange = headers['if-range'];
  return first === undefined || (ifRange !== undefined && ifRange !== etag) ? 0 : Number(first);
}

function send(file: ServedFile, request: IncomingMessage, response: ServerResponse): void {
  const failure = file.failures?.shift();
  if (failure !== undefined) return void response.writeHead(failure).end();
  const { body, etag } = file;
  const start = startOf(file, request);
  if (etag) response.setHeader('etag', etag);
  if (start >= body.length && start > 0) {
    return void response.writeHead(416, { 'content-range': `bytes */${body.length}` }).end();
  }
  if (start > 0) response.setHeader('content-range', `bytes ${start}-${body.length - 1}/${body.length}`);
  if (file.truncateTo !== undefined)
    return void response.writeHead(200).end(body.subarray(0, file.truncateTo));
  response.writeHead(start > 0 ? 206 : 200, { 'content-length': body.length - start });
  const cut = file.cuts?.shift();
  if (cut === undefined) response.end(body.subarray(start));
  else response.write(body.subarray(start, start + cut));
}
