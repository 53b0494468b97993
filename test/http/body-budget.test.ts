import type { Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import { keyed, playing, saying } from '../support/app.js';
import { connection, serving } from './serving.js';

/** What all bodies under way may take: 64 MiB, of which one caller has half. */

const MIB = 2 ** 20;
const CALLERS = ['alice', 'bob', 'carol'];

let server: Server;
let url: string;
let sockets: Socket[];

async function listen(generate: ReturnType<typeof playing> = saying('x')): Promise<void> {
  const lookup = (name: string) => (CALLERS.includes(name) ? { name, admin: false } : undefined);
  ({ server, url } = await serving({ generate, authenticate: keyed(lookup), maxBodyBytes: 16 * MIB }));
  sockets = [];
}

/** Sends headers, and as much of the body as is given; the beginning of the reply when it comes. */
function begin(caller: string, headers: string, body: string | Buffer = ''): Promise<string> {
  const socket = connection(url);
  sockets.push(socket);
  const head = `POST /chat HTTP/1.1\r\nHost: localhost\r\nX-API-Key: ${caller}\r\nContent-Type: application/json\r\n`;
  socket.write(`${head}${headers}\r\n\r\n`);
  socket.write(body);
  return new Promise((resolve) => socket.once('data', resolve));
}

/** Resolves when the server has read the headers of so many requests. */
function requested(count: number): Promise<void> {
  return new Promise((resolve) => {
    let left = count;
    server.on('request', () => (left -= 1) === 0 && setImmediate(resolve));
  });
}

const body = '{"prompt":"hi"}';
const whole = `Content-Length: ${body.length}`;

test('an announced body is refused before it is read, and is released when its client leaves', async () => {
  await listen();
  const closed = new Promise((resolve) =>
    server.once('request', (_request, response: ServerResponse) => response.once('close', resolve)),
  );
  const open = requested(2);
  for (let i = 0; i < 2; i += 1) void begin('alice', `Content-Length: ${16 * MIB}`);
  await open;
  const refused = await begin('alice', whole, body);
  expect(refused).toMatch(/^HTTP\/1.1 503 /);
  expect(refused).toMatch(/\r\nRetry-After: 1\r\n/i);
  expect(refused).toContain('"bodies_full"');
  sockets[0]!.destroy();
  await closed;
  expect(await begin('alice', whole, body)).toMatch(/^HTTP\/1.1 200 /);
});

test('one caller cannot use the whole budget, and all callers together are limited', async () => {
  await listen();
  const open = requested(4);
  for (const caller of ['alice', 'alice', 'bob', 'bob']) void begin(caller, `Content-Length: ${15 * MIB}`);
  await open;
  expect(await begin('carol', whole, body)).toMatch(/^HTTP\/1.1 200 /);
  expect(await begin('carol', `Content-Length: ${8 * MIB}`)).toMatch(/^HTTP\/1.1 503 /);
});

test('a compressed body counts with its unpacked size until its reply has ended', async () => {
  let began!: () => void;
  const generate = playing(async function* () {
    began();
    yield await new Promise<never>(() => undefined);
  });
  await listen(generate);
  const packed = gzipSync(`{"prompt":"${'x'.repeat(6 * MIB)}"}`);
  const headers = `Content-Encoding: gzip\r\nContent-Length: ${packed.length}`;
  // 16 MiB are set aside until it is known that there are 6: three times, and then 18 are held.
  for (let i = 0; i < 3; i += 1) {
    const begun = new Promise<void>((resolve) => (began = resolve));
    void begin('alice', headers, packed);
    await begun;
  }
  expect(await begin('alice', headers, packed)).toMatch(/^HTTP\/1.1 503 /);
});
