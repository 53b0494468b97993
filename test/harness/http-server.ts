import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/** An HTTP server on a free port of 127.0.0.1. */
export class HttpServer {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** @param server what listens; a listener gets a plain server */
  static async start(server: Server | RequestListener): Promise<HttpServer> {
    const made = typeof server === 'function' ? createServer(server) : server;
    await once(made.listen(0, '127.0.0.1'), 'listening');
    return new HttpServer(made);
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Cuts connections that are still open. */
  async stop(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close().closeAllConnections();
    await closed;
  }
}
