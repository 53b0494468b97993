import { once } from 'node:events';
import type { Socket } from 'node:net';
import { text as textOf } from 'node:stream/consumers';
import { Metrics } from '../../src/observe/metrics/metrics.js';
import { accounting, get, KEY, keptLog, post, recording, saying, testApp } from '../support/app.js';
import { begin } from '../support/exchange.js';
import { serving, timeOut } from './serving.js';

/** GET /usage as it is written to a connection, and what is recorded of requests whose backend miscounts. */

const PIECE = 'x'.repeat(64 * 1024);

/** Serves a report of these pieces; `ask` requests it, and `socket` is the server's end of the connection. */
async function reporting(pieces: (socket: Promise<Socket>) => AsyncIterable<string>) {
  const { onRequestDone, ended } = recording();
  const contentType = 'application/json; charset=utf-8';
  const report = async () => ({ contentType, pieces: pieces(socket) });
  const { server, url } = await serving({ accounting: { ...accounting, report }, onRequestDone });
  const socket: Promise<Socket> = once(server, 'connection').then(([connected]) => connected);
  const ask = (method = 'GET') => begin(`${url}/usage`, { method, headers: { 'X-API-Key': KEY } });
  return { ask, ended, socket };
}

/** Pieces without an end; `left` resolves when they are given up. */
function endless() {
  let leave!: () => void;
  const left = new Promise<void>((resolve) => (leave = resolve));
  const pieces = async function* () {
    try {
      for (;;) yield PIECE;
    } finally {
      leave();
    }
  };
  return { pieces, left };
}

test('a report is written no faster than its client reads', async () => {
  let longest = 0;
  const { ask } = await reporting(async function* (connected) {
    const socket = await connected;
    for (let i = 0; i < 256; i += 1) {
      yield PIECE;
      longest = Math.max(longest, socket.writableLength);
    }
  });
  expect((await textOf(await ask())).length).toBe(256 * PIECE.length);
  expect(longest).toBeGreaterThan(0);
  expect(longest).toBeLessThan(2 ** 20);
});

test('a client that leaves ends the report', async () => {
  const { pieces, left } = endless();
  const { ask, ended } = await reporting(pieces);
  const response = await ask();
  await once(response, 'data');
  response.destroy();
  await left;
  expect(await ended()).toMatchObject([{ outcome: 'cancelled' }]);
});

test('a report that fails midway is cut off and never ends like a complete one', async () => {
  const { ask, ended } = await reporting(async function* () {
    yield PIECE;
    throw new Error('the disk is gone');
  });
  await expect(textOf(await ask())).rejects.toMatchObject({ code: 'ECONNRESET' });
  expect(await ended()).toMatchObject([
    { outcome: 'broken', context: { error: { code: 'internal_error' } } },
  ]);
});

test('a client that reads nothing of a report for 30 s is cut off', async () => {
  const { pieces, left } = endless();
  const { ask, ended, socket } = await reporting(pieces);
  const response = await ask();
  timeOut(await socket);
  await ended();
  await left;
  await expect(textOf(response)).rejects.toMatchObject({ code: 'ECONNRESET' });
});

test('HEAD returns the headers and reads no further', async () => {
  const { ask } = await reporting(async function* () {
    throw new Error('nobody asked for this');
    yield '';
  });
  const response = await ask('HEAD');
  expect(response.statusCode).toBe(200);
  expect(response.headers['content-type']).toBe('application/json; charset=utf-8');
  expect(await textOf(response)).toBe('');
});

test('impossible counts from a backend are bounded and reported once, and break nothing', async () => {
  const { logger, lines } = keptLog('warn');
  const metrics = new Metrics({ version: '1.2.3', models: () => [] });
  const { onRequestDone, ended } = recording();
  let usage = { promptTokens: NaN, completionTokens: 2 ** 60, cachedTokens: -Infinity };
  const app = testApp({
    generate: (asked, context, sink) => {
      Object.assign(context.trace, usage);
      return saying('a')(asked, context, sink);
    },
    onRequestDone: (record) => {
      metrics.requestDone(record);
      onRequestDone(record);
    },
    logger,
  });
  for (let i = 0; i < 2; i += 1) await post('/chat', { prompt: 'x' }, app).expect(200);
  usage = { promptTokens: 3, completionTokens: 2, cachedTokens: 1 };
  await post('/chat', { prompt: 'x' }, app).expect(200);
  const counts = (await ended(3)).map(({ context: { trace } }) => [
    trace.promptTokens,
    trace.completionTokens,
    trace.cachedTokens,
  ]);
  expect(counts).toEqual([
    [0, 1e9, 0],
    [0, 1e9, 0],
    [3, 2, 1],
  ]);
  expect(lines.map((line) => JSON.parse(line).event)).toEqual(['usage_unsound']);
});

test('an error while recording usage is logged and breaks nothing', async () => {
  const { logger, lines } = keptLog('error');
  const onRequestDone = () => {
    throw new Error('no room');
  };
  const app = testApp({ onRequestDone, logger });
  for (let i = 0; i < 3; i += 1) await get('/health', app).expect(200);
  expect(lines.map((line) => JSON.parse(line).event)).toContain('request_not_recorded');
});
