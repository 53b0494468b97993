import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo, Server, Socket } from 'node:net';

/** A server on a free port of 127.0.0.1. */
export class HttpServer {
  readonly port: number;
  readonly #server: Server;
  readonly #sockets: ReadonlySet<Socket>;

  private constructor(server: Server, sockets: ReadonlySet<Socket>) {
    this.#server = server;
    this.#sockets = sockets;
    this.port = (server.address() as AddressInfo).port;
  }

  /** @param server what listens; a listener gets a plain server */
  static async start(server: Server | RequestListener): Promise<HttpServer> {
    const made = typeof server === 'function' ? createServer(server) : server;
    const sockets = new Set<Socket>();
    made.on('connection', (socket: Socket) => {
      sockets.add(socket.once('close', () => sockets.delete(socket)));
    });
    await once(made.listen(0, '127.0.0.1'), 'listening');
    return new HttpServer(made, sockets);
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Cuts all connections, tunnels too. May be called again. */
  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}
