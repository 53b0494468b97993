import { once } from 'node:events';
import { request, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { pino } from 'pino';
import type { RequestRecord } from '../../src/http/request-log.js';
import { httpServer } from '../../src/http/server.js';
import { Metrics } from '../../src/observe/metrics/metrics.js';
import { accounting, KEY, saying, testApp, type TestOptions } from '../support/app.js';

/** GET /usage as it is written to a connection, and what is recorded of requests whose backend miscounts. */

let server: Server;

async function serve(options: Partial<TestOptions>): Promise<void> {
  server = httpServer(testApp(options)).listen(0, '127.0.0.1');
  await once(server, 'listening');
}

afterEach(async () => {
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
});

async function ask(path = '/usage', method = 'GET', body?: string): Promise<IncomingMessage> {
  const { port } = server.address() as AddressInfo;
  const headers = { 'X-API-Key': KEY, 'Content-Type': 'application/json' };
  const outgoing = request({ host: '127.0.0.1', port, path, method, headers });
  outgoing.end(body);
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
  return response.setEncoding('utf8');
}

const textOf = async (response: IncomingMessage): Promise<string> => (await response.toArray()).join('');

const reading = (pieces: () => AsyncIterable<string>): Pick<TestOptions, 'accounting'> => ({
  accounting: {
    ...accounting,
    report: async () => ({ contentType: 'application/json; charset=utf-8', pieces: pieces() }),
  },
});

/** Resolves with the record of the next request that has ended. */
function recorded() {
  let onRequestDone!: (record: RequestRecord) => void;
  const record = new Promise<RequestRecord>((resolve) => (onRequestDone = resolve));
  return { onRequestDone, record };
}

const PIECE = 'x'.repeat(64 * 1024);

test('a report is written no faster than its client reads', async () => {
  let longest = 0;
  let socket: Socket | undefined;
  const pieces = async function* () {
    for (let i = 0; i < 256; i += 1) {
      yield PIECE;
      longest = Math.max(longest, socket!.writableLength);
    }
  };
  await serve(reading(pieces));
  server.on('connection', (connected) => (socket = connected));
  expect((await textOf(await ask())).length).toBe(256 * PIECE.length);
  expect(longest).toBeGreaterThan(0);
  expect(longest).toBeLessThan(2 ** 20);
});

test('a client that leaves ends the report', async () => {
  let end!: () => void;
  const ended = new Promise<void>((resolve) => (end = resolve));
  const pieces = async function* () {
    try {
      for (;;) yield PIECE;
    } finally {
      end();
    }
  };
  const { record, onRequestDone } = recorded();
  await serve({ ...reading(pieces), onRequestDone });
  const response = await ask();
  await once(response, 'data');
  response.destroy();
  await ended;
  expect(await record).toMatchObject({ outcome: 'cancelled' });
});

test('a report that fails midway is cut off and never ends like a complete one', async () => {
  const pieces = async function* () {
    yield PIECE;
    throw new Error('the disk is gone');
  };
  const { record, onRequestDone } = recorded();
  await serve({ ...reading(pieces), onRequestDone });
  await expect(textOf(await ask())).rejects.toMatchObject({ code: 'ECONNRESET' });
  expect(await record).toMatchObject({ outcome: 'broken', context: { error: { code: 'internal_error' } } });
});

test('a client that reads nothing of a report for 30 s is cut off', async () => {
  let ended = false;
  const pieces = async function* () {
    try {
      for (;;) yield PIECE;
    } finally {
      ended = true;
    }
  };
  const { onRequestDone, record } = recorded();
  await serve({ ...reading(pieces), onRequestDone });
  const connected = once(server, 'connection') as Promise<[Socket]>;
  const response = await ask();
  const [socket] = await connected;
  expect(socket.timeout).toBe(30_000);
  // What Node does when a socket has moved no byte for that long.
  socket.emit('timeout');
  await record;
  expect(ended).toBe(true);
  await expect(textOf(response)).rejects.toMatchObject({ code: 'ECONNRESET' });
});

test('HEAD returns the headers and reads no further', async () => {
  const pieces = async function* () {
    throw new Error('nobody asked for this');
    yield '';
  };
  await serve(reading(pieces));
  const response = await ask('/usage', 'HEAD');
  expect(response.statusCode).toBe(200);
  expect(response.headers['content-type']).toBe('application/json; charset=utf-8');
  expect(await textOf(response)).toBe('');
});

test('impossible counts from a backend are bounded and reported once, and break nothing', async () => {
  const lines: string[] = [];
  const metrics = new Metrics({ version: '1.2.3', models: () => [] });
  const records: RequestRecord[] = [];
  let usage = { promptTokens: NaN, completionTokens: 2 ** 60, cachedTokens: -Infinity };
  await serve({
    generate: (asked, context, sink) => {
      Object.assign(context.trace, usage);
      return saying('a')(asked, context, sink);
    },
    onRequestDone: (record) => {
      metrics.requestDone(record);
      records.push(record);
    },
    logger: pino({ level: 'warn' }, { write: (line: string) => void lines.push(line) }),
  });
  for (let i = 0; i < 2; i += 1) await textOf(await ask('/chat', 'POST', '{"prompt":"x"}'));
  usage = { promptTokens: 3, completionTokens: 2, cachedTokens: 1 };
  await textOf(await ask('/chat', 'POST', '{"prompt":"x"}'));
  const counts = records.map(({ context: { trace } }) => [
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
  const lines: string[] = [];
  await serve({
    onRequestDone: () => {
      throw new Error('no room');
    },
    logger: pino({ level: 'error' }, { write: (line: string) => void lines.push(line) }),
  });
  for (let i = 0; i < 2; i += 1) expect((await ask('/health')).statusCode).toBe(200);
  const answered = await ask('/health');
  await textOf(answered);
  expect(lines.map((line) => JSON.parse(line).event)).toContain('request_not_recorded');
});
