/** What a hostile or broken server can do to a client is bounded. */

import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';
import { BrokenStreamError, ServerError } from '../../../src/client/index.js';
import { delta, done, event, json, openSse } from '../../support/fake-server.js';
import { clientOf, collect, failure } from './helpers.js';

/** Writes a text again and again until the client has left. */
function flood(response: ServerResponse, text: string): void {
  const more = (): void => void response.write(text, () => response.destroyed || more());
  more();
}

test('a small compressed reply that becomes a large one is refused', async () => {
  const content = 'x'.repeat(17 * 1024 * 1024);
  const packed = gzipSync(JSON.stringify({ choices: [{ message: { content } }] }));
  const headers = { 'content-type': 'application/json', 'content-encoding': 'gzip' };
  const { client } = await clientOf((response) => void response.writeHead(200, headers).end(packed));
  const thrown = await failure(client.generate('hi'));
  expect(thrown).toBeInstanceOf(ServerError);
  expect(thrown).toMatchObject({ code: 'invalid_response' });
});

test('an endless error is reported by its status, and the connection is closed', async () => {
  let closed: Promise<unknown> | undefined;
  const { client } = await clientOf((response) => {
    closed = once(response, 'close');
    response.writeHead(500);
    flood(response, 'no '.repeat(10_000));
  });
  expect(await failure(client.generate('hi'))).toMatchObject({ status: 500, code: 'http_500' });
  await closed;
});

test.each([
  ['data lines without a blank line', 'data:x\n'.repeat(1_000)],
  ['a line without an end', 'x'.repeat(60_000)],
])('a stream breaks on %s', async (_, text) => {
  const { client } = await clientOf((response) => {
    openSse(response);
    flood(response, text);
  });
  expect(await failure(collect(client.stream('hi')))).toBeInstanceOf(BrokenStreamError);
});

test('the client leaves a server that keeps sending after the end', async () => {
  let closed: Promise<unknown> | undefined;
  const { client } = await clientOf((response) => {
    closed = once(response, 'close');
    openSse(response, delta('all') + done);
    flood(response, ': ping\n\n' + event({ choices: [] }));
  });
  expect(await collect(client.stream('hi'))).toEqual(['all']);
  await closed;
});

test('a request id is cut to one short line, and a retry time that is not a number is dropped', async () => {
  const headers = { 'x-request-id': `a\u009b31m${'x'.repeat(500)}`, 'retry-after': '9'.repeat(400) };
  const { client } = await clientOf(json(503, {}, headers));
  const thrown = await failure(client.generate('hi'));
  expect(thrown).toMatchObject({ requestId: `a 31m${'x'.repeat(123)}`, retryAfter: undefined });
});
