import type { Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import { keyed, playing, saying } from '../support/app.js';
import { connection, serving } from './serving.js';

/** What all bodies under way may take: 64 MiB, of which one caller has half. */

const MIB = 2 ** 20;
const CALLERS = ['alice', 'bob', 'carol'];
const CHAT = '/v1/chat/completions';

let server: Server;
let url: string;
let sockets: Socket[];

async function listen(generate: ReturnType<typeof playing> = saying('x')): Promise<void> {
  const lookup = (name: string) => (CALLERS.includes(name) ? { name, admin: false } : undefined);
  const limits = { maxBodyBytes: 16 * MIB, maxImageBodyBytes: 32 * MIB };
  ({ server, url } = await serving({ generate, authenticate: keyed(lookup), ...limits }));
  sockets = [];
}

/** Sends headers, and as much of the body as is given; the beginning of the reply when it comes. */
function begin(caller: string, headers: string, body: string | Buffer = '', path = CHAT): Promise<string> {
  const socket = connection(url);
  sockets.push(socket);
  const head = `POST ${path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: ${caller}\r\nContent-Type: application/json\r\n`;
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

const body = JSON.stringify({ messages: [{ role: 'user', content: 'hi' }] });
const whole = `Content-Length: ${body.length}`;
const announced = (mib: number) => `Content-Length: ${mib * MIB}`;

test('an announced body is refused before it is read, and is released when its client leaves', async () => {
  await listen();
  const closed = new Promise((resolve) =>
    server.once('request', (_request, response: ServerResponse) => response.once('close', resolve)),
  );
  const open = requested(2);
  for (let i = 0; i < 2; i += 1) void begin('alice', announced(16));
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
  for (const caller of ['alice', 'alice', 'bob', 'bob']) void begin(caller, announced(15));
  await open;
  expect(await begin('carol', whole, body)).toMatch(/^HTTP\/1.1 200 /);
  expect(await begin('carol', announced(8))).toMatch(/^HTTP\/1.1 503 /);
});

test.each<[string, RegExp]>([
  [CHAT, /\{"error":\{"message":.*"code":"bodies_full"/],
  ['/v1/responses', /\{"error":\{"message":.*"code":"bodies_full"/],
  ['/v1/messages', /\{"type":"error","error":\{"type":"overloaded_error"/],
  ['/complete', /\{"error":"All providers unavailable"\}/],
])('a refusal on %s has the form of its errors', async (path, form) => {
  await listen();
  const open = requested(1);
  void begin('alice', announced(32));
  await open;
  const refused = await begin('alice', whole, body, path);
  expect(refused).toMatch(/^HTTP\/1.1 503 /);
  expect(refused).toMatch(/\r\nRetry-After: 1\r\n/i);
  expect(refused).toMatch(form);
});

test('a body in chunks is counted as it arrives, and what it held is released with its refusal', async () => {
  await listen();
  const open = requested(1);
  void begin('alice', announced(16));
  await open;
  const piece = `${(8 * MIB).toString(16)}\r\n${' '.repeat(8 * MIB)}\r\n`;
  expect(await begin('alice', 'Transfer-Encoding: chunked', piece.repeat(3))).toMatch(/^HTTP\/1.1 503 /);
  expect(await begin('alice', whole, body)).toMatch(/^HTTP\/1.1 200 /);
});

test('a compressed body counts with its unpacked size until its reply has ended', async () => {
  let began!: () => void;
  const generate = playing(async function* () {
    began();
    yield await new Promise<never>(() => undefined);
  });
  await listen(generate);
  const packed = gzipSync(JSON.stringify({ messages: [{ role: 'user', content: 'x'.repeat(6 * MIB) }] }));
  const headers = `Content-Encoding: gzip\r\nContent-Length: ${packed.length}`;
  for (let i = 0; i < 5; i += 1) {
    const begun = new Promise<void>((resolve) => (began = resolve));
    void begin('alice', headers, packed);
    await begun;
  }
  expect(await begin('alice', headers, packed)).toMatch(/^HTTP\/1.1 503 /);
});
