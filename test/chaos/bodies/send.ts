import { once } from 'node:events';
import { connect } from 'node:net';
import { Pool } from 'undici';
import type { BodyAttempt } from './bodies.js';
import { KEY_MARK, type WireAttempt } from './wire.js';

export interface Reply {
  readonly status: number;
  readonly text: string;
}

/** How long a server may think about bytes on a connection of their own before the client ends its half, milliseconds. */
const THINKING_MS = 20;

/** A connection still open after this is one that the server has forgotten, milliseconds. */
const FORGOTTEN_MS = 15_000;

/** Sends attempts to one server. */
export class Sender {
  readonly #pool: Pool;

  constructor(
    private readonly url: URL,
    private readonly key: string,
    connections: number,
  ) {
    this.#pool = new Pool(url.origin, {
      connections,
      pipelining: 4,
      bodyTimeout: 60_000,
      headersTimeout: 60_000,
    });
  }

  /** @throws undici's errors when there is no reply. */
  async send({ route, headers, body }: BodyAttempt): Promise<Reply> {
    const sent = { 'x-api-key': this.key, ...headers };
    const reply = await this.#pool.request({
      method: 'POST',
      path: route,
      headers: sent,
      body,
      idempotent: true,
    });
    return { status: reply.statusCode, text: await reply.body.text() };
  }

  /** Replies as they came, broken ones too. @throws for a connection that the server neither serves nor closes. */
  async sendWire({ writes, ending }: WireAttempt): Promise<Reply[]> {
    const socket = connect(Number(this.url.port), this.url.hostname).setNoDelay(true).setEncoding('latin1');
    let text = '';
    socket.on('data', (data: string) => (text += data)).on('error', () => undefined);
    const closed = once(socket, 'close');
    await once(socket, 'connect');
    for (const bytes of writes) {
      socket.write(Buffer.from(bytes.toString('latin1').replaceAll(KEY_MARK, this.key), 'latin1'));
      await new Promise(setImmediate);
    }
    if (ending === 'destroy') socket.destroy();
    const thinking = ending === 'end' ? setTimeout(() => socket.end(), THINKING_MS) : undefined;
    const forgotten = setTimeout(() => socket.destroy(new Error('forgotten')), FORGOTTEN_MS);
    await closed;
    clearTimeout(thinking);
    clearTimeout(forgotten);
    if (socket.errored?.message === 'forgotten') throw socket.errored;
    return repliesIn(text);
  }

  async close(): Promise<void> {
    await this.#pool.destroy();
  }
}

function repliesIn(text: string): Reply[] {
  return text
    .split(/^(?=HTTP\/1\.1 \d{3} )/m)
    .filter((part) => part.startsWith('HTTP/1.1 '))
    .map((part) => ({ status: Number(part.slice(9, 12)), text: part }))
    .filter(({ status }) => status >= 200);
}
