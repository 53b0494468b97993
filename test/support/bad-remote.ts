import type { IncomingMessage, ServerResponse } from 'node:http';
import { HttpServer } from '../harness/http-server.js';

/** How a server of another's can fail before its first token. */
export type Fault = 'refuses' | 'fails' | 'limits' | 'hangs' | 'dies';

const ROLE = { choices: [{ index: 0, delta: { role: 'assistant', content: '' }, finish_reason: null }] };

/** A server that speaks OpenAI's protocol badly. Where it says anything it repeats the key that it was sent. */
export class BadRemote {
  /** The keys that came with the requests, by fault. */
  readonly asked: Record<Fault, string[]> = { refuses: [], fails: [], limits: [], hangs: [], dies: [] };
  #server!: HttpServer;

  async start(): Promise<this> {
    this.#server = await HttpServer.start((request, response) => this.#answer(request, response));
    return this;
  }

  stop(): Promise<void> {
    return this.#server.stop();
  }

  /** What a configuration has as `baseUrl`. */
  url(fault: Fault): string {
    // Nobody listens on port 1.
    if (fault === 'refuses') return 'http://127.0.0.1:1';
    return `${this.#server.url}/${fault}/v1`;
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const fault = request.url!.split('/')[1] as Fault;
    const key = String(request.headers.authorization);
    this.asked[fault].push(key);
    const secret = key.replace('Bearer ', '');
    const message = `boom for ${key}, see https://u:${secret}@upstream.example/v1?key=${secret} or x-api-key: ${secret}`;
    const refuse = (status: number, headers = {}) =>
      response
        .writeHead(status, { 'Content-Type': 'application/json', ...headers })
        .end(JSON.stringify({ error: { message, type: 'server_error', param: null, code: null } }));
    if (fault === 'fails') refuse(500);
    if (fault === 'limits') refuse(429);
    if (fault === 'dies') {
      response.writeHead(200, { 'Content-Type': 'text/event-stream' });
      response.write(`data: ${JSON.stringify(ROLE)}\n\n`, () => response.destroy());
    }
  }
}
