import { once } from 'node:events';
import type { Server, ServerOptions } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { httpServer } from '../../src/http/server.js';
import { KEY, testApp, type TestOptions } from '../support/app.js';

/** What is wrong before there is a request, or what Node would answer by itself. */

let server: Server;

async function serve(options: ServerOptions = {}, app: Partial<TestOptions> = {}): Promise<void> {
  server = httpServer(testApp(app), { connectionsCheckingInterval: 10, ...options });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
}

afterEach(async () => {
  server.close();
  await once(server, 'close');
});

/** Sends bytes and reads what comes until the server closes. */
async function talk(bytes: string): Promise<{ status: string; head: string; body: any }> {
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1').setEncoding('utf8');
  socket.write(bytes);
  let text = '';
  for await (const chunk of socket) text += chunk as string;
  const [head, body] = text.split('\r\n\r\n');
  return { status: head!.split(' ')[1]!, head: head!, body: JSON.parse(body!) };
}

test.each([
  ['headers', 'POST /chat HTTP/1.1\r\nHost: loc'],
  [
    'a body',
    'POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{',
  ],
])('%s that do not arrive in time are 408 with the usual error body', async (_name, bytes) => {
  await serve({ headersTimeout: 50, requestTimeout: 100 });
  // A key is asked for before a body is; without one the answer would be 401.
  const withKey = bytes.replace('Host: localhost\r\n', 'Host: localhost\r\nX-API-Key: test-key\r\n');
  const { status, head, body } = await talk(withKey);
  expect(status).toBe('408');
  expect(body.error).toMatchObject({ code: 'request_timeout', type: 'invalid_request_error' });
  expect(head).toMatch(/x-request-id: [\w-]{36}/);
});

test('headers that are too large are 431, and bytes that are not HTTP are 400', async () => {
  await serve();
  const large = await talk(`GET / HTTP/1.1\r\nHost: localhost\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`);
  expect([large.status, large.body.error.code]).toEqual(['431', 'headers_too_large']);
  const garbage = await talk('hello\r\n\r\n');
  expect([garbage.status, garbage.body.error.code]).toEqual(['400', 'invalid_http']);
});

test.each(['llm.example', '*'])('HTTP/1.1 without a Host header is 400 where %s is served', async (host) => {
  await serve({}, { allowedHosts: [host] });
  const { status, head, body } = await talk('GET / HTTP/1.1\r\nConnection: close\r\n\r\n');
  expect([status, body.error.code]).toEqual(['400', 'invalid_http']);
  expect(head).toMatch(/x-request-id: [\w-]{36}/);
});

test('an unknown Expect header is ignored', async () => {
  await serve();
  const headers = ['Host: localhost', `X-API-Key: ${KEY}`, 'Expect: something', 'Connection: close'];
  const { status, head, body } = await talk(`GET /v1/models HTTP/1.1\r\n${headers.join('\r\n')}\r\n\r\n`);
  expect(status).toBe('200');
  expect(head).toMatch(/x-request-id: [\w-]{36}/);
  expect(body.data).toHaveLength(1);
});
