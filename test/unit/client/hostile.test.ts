/** What a hostile or broken server can do to a client is bounded. */

import { gzipSync } from 'node:zlib';
import { BrokenStreamError, createClient, ServerError } from '../../../src/client/index.js';
import {
  collect,
  delta,
  done,
  event,
  failure,
  FakeServer,
  json,
  openSse,
  stopServers,
} from './fake-server.js';

afterEach(stopServers);

const client = ({ url }: FakeServer) => createClient({ baseUrl: url, fallback: 'none' });

/** Writes a text again and again until the client is gone. */
function flood(response: Parameters<typeof openSse>[0], text: string): void {
  const more = (): void => void response.write(text, () => response.destroyed || more());
  more();
}

test('a small packed answer that becomes a large one is refused', async () => {
  const packed = gzipSync(
    JSON.stringify({ choices: [{ message: { content: 'x'.repeat(17 * 1024 * 1024) } }] }),
  );
  const server = await FakeServer.start((response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' }).end(packed);
  });
  const thrown = await failure(client(server).generate('hi'));
  expect(thrown).toBeInstanceOf(ServerError);
  expect(thrown).toMatchObject({ code: 'invalid_response' });
});

test('an error that never ends is an error by its status', async () => {
  let closed: Promise<void> | undefined;
  const server = await FakeServer.start((response) => {
    closed = new Promise((resolve) => response.once('close', resolve));
    response.writeHead(500);
    flood(response, 'no '.repeat(10_000));
  });
  expect(await failure(client(server).generate('hi'))).toMatchObject({ status: 500, code: 'http_500' });
  await closed;
});

test.each([
  ['data lines without a blank line', 'data:x\n'.repeat(1_000)],
  ['a line without end', 'x'.repeat(60_000)],
])('%s break a stream', async (_, text) => {
  const server = await FakeServer.start((response) => {
    openSse(response);
    flood(response, text);
  });
  expect(await failure(collect(client(server).stream('hi')))).toBeInstanceOf(BrokenStreamError);
});

test('a server that goes on sending after the end is left', async () => {
  let closed: Promise<void> | undefined;
  const server = await FakeServer.start((response) => {
    closed = new Promise((resolve) => response.once('close', resolve));
    openSse(response);
    response.write(delta('all') + done);
    flood(response, ': ping\n\n' + event({ choices: [] }));
  });
  expect(await collect(client(server).stream('hi'))).toEqual(['all']);
  await closed;
});

test('a request id is one short line, and a wait a number', async () => {
  const server = await FakeServer.start(
    json(503, {}, { 'x-request-id': `a\u009b31m${'x'.repeat(500)}`, 'retry-after': '9'.repeat(400) }),
  );
  const thrown = await failure(client(server).generate('hi'));
  expect(thrown).toMatchObject({ requestId: `a 31m${'x'.repeat(123)}`, retryAfter: undefined });
});
