import type { ServerOptions } from 'node:http';
import { httpServer } from '../../src/http/server.js';
import { KEY, testApp, type TestOptions } from '../support/app.js';
import { serve } from '../support/fake-server.js';
import { connection, textUntil } from './serving.js';

/** What is wrong before there is a request, or what Node would reply to by itself. */

/** Sends bytes to the server and reads its reply, until it closes the connection. */
async function talk(bytes: string, options: ServerOptions = {}, app: Partial<TestOptions> = {}) {
  const server = httpServer(testApp(app), { connectionsCheckingInterval: 10, ...options });
  const socket = connection(await serve(server));
  socket.write(bytes);
  const [head, body] = (await textUntil(socket)).split('\r\n\r\n');
  return { status: head!.split(' ')[1]!, head: head!, body: JSON.parse(body!) };
}

test.each([
  ['headers', 'POST /chat HTTP/1.1\r\nHost: loc'],
  [
    'a body',
    'POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{',
  ],
])('%s that do not arrive in time are 408 with the usual error body', async (_name, bytes) => {
  // The key is checked before the body is read; without one the status would be 401.
  const withKey = bytes.replace('Host: localhost\r\n', 'Host: localhost\r\nX-API-Key: test-key\r\n');
  const { status, head, body } = await talk(withKey, { headersTimeout: 50, requestTimeout: 100 });
  expect(status).toBe('408');
  expect(body.error).toMatchObject({ code: 'request_timeout', type: 'invalid_request_error' });
  expect(head).toMatch(/x-request-id: [\w-]{36}/);
});

test('headers that are too large are 431, and bytes that are not HTTP are 400', async () => {
  const large = await talk(`GET / HTTP/1.1\r\nHost: localhost\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`);
  expect([large.status, large.body.error.code]).toEqual(['431', 'headers_too_large']);
  const garbage = await talk('hello\r\n\r\n');
  expect([garbage.status, garbage.body.error.code]).toEqual(['400', 'invalid_http']);
});

test.each(['llm.example', '*'])('HTTP/1.1 without a Host header is 400 where %s is served', async (host) => {
  const bytes = 'GET / HTTP/1.1\r\nConnection: close\r\n\r\n';
  const { status, head, body } = await talk(bytes, {}, { allowedHosts: [host] });
  expect([status, body.error.code]).toEqual(['400', 'invalid_http']);
  expect(head).toMatch(/x-request-id: [\w-]{36}/);
});

test('an unknown Expect header is ignored', async () => {
  const headers = ['Host: localhost', `X-API-Key: ${KEY}`, 'Expect: something', 'Connection: close'];
  const { status, head, body } = await talk(`GET /v1/models HTTP/1.1\r\n${headers.join('\r\n')}\r\n\r\n`);
  expect(status).toBe('200');
  expect(head).toMatch(/x-request-id: [\w-]{36}/);
  expect(body.data).toHaveLength(1);
});
