import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage, type Server } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { jest } from '@jest/globals';
import type { GenerateEvent } from '../../src/contract.js';
import { LMServError } from '../../src/errors.js';
import { InFlight } from '../../src/http/in-flight.js';
import type { RequestRecord } from '../../src/http/request-log.js';
import { httpServer } from '../../src/http/server.js';
import { events, failing, KEY, playing, saying, testApp, type TestOptions } from '../support/app.js';
import { scripted } from '../support/pulled.js';

/** What only a real connection shows: chunks as they come, cut streams, trailers, clients that go. */

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

async function post(path: string, body: object): Promise<IncomingMessage> {
  const outgoing = httpRequest({
    host: '127.0.0.1',
    port: (server.address() as AddressInfo).port,
    method: 'POST',
    path,
    headers: { 'X-API-Key': KEY, 'Content-Type': 'application/json' },
  });
  outgoing.end(JSON.stringify(body));
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
  return response.setEncoding('utf8');
}

async function chunksOf(response: IncomingMessage): Promise<string[]> {
  const chunks: string[] = [];
  for await (const chunk of response) chunks.push(chunk as string);
  return chunks;
}

/** A generation that goes on only when told to. */
function stepped() {
  let step!: () => void;
  let ended!: (reason: unknown) => void;
  const endedWith = new Promise((resolve) => (ended = resolve));
  const generate = scripted(async function* (_request, { signal }) {
    try {
      for (let i = 0; ; i += 1) {
        yield { type: 'text', index: 0, text: `t${i}` } satisfies GenerateEvent;
        await new Promise<void>((resolve, reject) => {
          step = resolve;
          signal.addEventListener('abort', () => reject(signal.reason));
        });
      }
    } catch (error) {
      ended(error);
      throw error;
    }
  });
  return { generate, step: () => step(), endedWith };
}

test('/chat sends each token at once in its own chunk, and the finish reason as a trailer', async () => {
  const { generate, step } = stepped();
  await serve({ generate });
  const response = await post('/chat', { prompt: 'x' });
  expect(response.headers['content-type']).toBe('text/plain; charset=utf-8');
  expect(response.headers['transfer-encoding']).toBe('chunked');
  expect(response.headers.trailer).toBe('X-Finish-Reason');
  for (let i = 0; i < 3; i += 1) {
    // The next token is not made before this one has arrived.
    const [chunk] = (await once(response, 'data')) as [string];
    expect(chunk).toBe(`t${i}`);
    step();
  }
  response.destroy();
});

test('/chat has its defaults and sends text only', async () => {
  const generate = playing([{ type: 'reasoning', index: 0, text: 'hidden' }, ...events('shown')]);
  await serve({ generate });
  const response = await post('/chat', { prompt: 'x', system_prompt: null });
  expect((await chunksOf(response)).join('')).toBe('shown');
  expect(response.trailers['x-finish-reason']).toBe('stop');
  expect(generate.requests[0]!.body).toEqual({
    messages: [
      { role: 'system', content: 'You are a helpful assistant.' },
      { role: 'user', content: 'x' },
    ],
    max_tokens: 256,
    temperature: 0.8,
    top_p: 0.9,
    repeat_penalty: 1.1,
  });
});

test('a /chat reply that breaks is cut, not ended', async () => {
  const generate = failing(new LMServError('generation_failed'), { type: 'text', index: 0, text: 'half' });
  await serve({ generate });
  const response = await post('/chat', { prompt: 'x' });
  await expect(chunksOf(response)).rejects.toMatchObject({ code: 'ECONNRESET' });
  expect(response.complete).toBe(false);
});

/** Sends a request as a client of HTTP/1.0 does; resolves with all it got. */
async function post10(body: string): Promise<string> {
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const headers = [`X-API-Key: ${KEY}`, 'Content-Type: application/json', `Content-Length: ${body.length}`];
  socket.write(`POST /chat HTTP/1.0\r\n${headers.join('\r\n')}\r\n\r\n${body}`);
  let text = '';
  for await (const chunk of socket.setEncoding('utf8')) text += chunk as string;
  return text;
}

test('a client of HTTP/1.0 gets the text in one piece, with its length', async () => {
  await serve({ generate: saying('Hello', ' world'), allowedHosts: ['*'] });
  const reply = await post10('{"prompt":"x"}');
  expect(reply).toMatch(/^HTTP\/1.1 200 OK\r\n/);
  expect(reply).toContain('X-Finish-Reason: stop\r\n');
  expect(reply).toContain('Content-Length: 11\r\n');
  expect(reply.endsWith('\r\n\r\nHello world')).toBe(true);
});

test('a client of HTTP/1.0 gets an error instead of incomplete text when its reply breaks', async () => {
  const generate = failing(new LMServError('generation_failed'), { type: 'text', index: 0, text: 'half' });
  await serve({ generate, allowedHosts: ['*'] });
  const reply = await post10('{"prompt":"x"}');
  expect(reply).toMatch(/^HTTP\/1.1 500 /);
  expect(reply).not.toContain('half');
});

test.each(['/chat', '/v1/chat/completions'])(
  'a client that goes cancels its generation: %s',
  async (path) => {
    const { generate, endedWith } = stepped();
    let done!: (record: RequestRecord) => void;
    const recorded = new Promise<RequestRecord>((resolve) => (done = resolve));
    await serve({ generate, onRequestDone: (record) => done(record) });
    const response = await post(path, {
      prompt: 'x',
      messages: [{ role: 'user', content: 'x' }],
      stream: true,
    });
    await once(response, 'data');
    response.destroy();
    expect(await endedWith).toMatchObject({ name: 'AbortError' });
    expect((await recorded).outcome).toBe('cancelled');
  },
);

describe('a client that does not read', () => {
  const piece = 'x'.repeat(64 * 1024);
  // 32 MiB: far more than all buffers between the two.
  const all = 512;

  /** A generation of large pieces; `quiet` resolves when no other one has been asked for during 200 ms. */
  function large() {
    const state = { made: 0, ended: false };
    let onEnd!: () => void;
    const end = new Promise<void>((resolve) => (onEnd = resolve));
    let onQuiet!: () => void;
    const quiet = new Promise<void>((resolve) => (onQuiet = resolve));
    // Kept from fake clocks.
    const { setTimeout, clearTimeout } = globalThis;
    const generate = scripted(async function* () {
      let timer: NodeJS.Timeout | undefined;
      try {
        while (state.made < all) {
          state.made += 1;
          clearTimeout(timer);
          timer = setTimeout(onQuiet, 200);
          yield { type: 'text', index: 0, text: piece };
        }
      } finally {
        state.ended = true;
        onEnd();
      }
    });
    return { state, quiet, end, generate };
  }

  test('pauses the generation with less than 1 MiB in memory, and gets the whole reply later', async () => {
    const { state, quiet, generate } = large();
    await serve({ generate });
    const taken = once(server, 'connection') as Promise<[Socket]>;
    const response = await post('/chat', { prompt: 'x' });
    const [socket] = await taken;
    await quiet;
    expect(state.made).toBeLessThan(all);
    expect(socket.writableLength).toBeGreaterThan(0);
    expect(socket.writableLength).toBeLessThan(1024 * 1024);
    expect((await chunksOf(response)).join('').length).toBe(all * piece.length);
  });

  test('is cut off after 30 s, its generation ended', async () => {
    const { state, quiet, end, generate } = large();
    let recorded!: (record: RequestRecord) => void;
    const record = new Promise<RequestRecord>((resolve) => (recorded = resolve));
    await serve({ generate, onRequestDone: recorded });
    const taken = once(server, 'connection') as Promise<[Socket]>;
    const response = await post('/chat', { prompt: 'x' });
    const [socket] = await taken;
    await quiet;
    expect(socket.timeout).toBe(30_000);
    expect(state.ended).toBe(false);
    // What Node does when a socket has moved no byte for that long.
    socket.emit('timeout');
    expect((await record).outcome).toBe('cancelled');
    await end;
    expect(state.made).toBeLessThan(all);
    await expect(chunksOf(response)).rejects.toMatchObject({ code: 'ECONNRESET' });
  });

  test('is cut off on every route', async () => {
    let recorded!: () => void;
    const record = new Promise<void>((resolve) => (recorded = resolve));
    const body = piece.repeat(all);
    await serve({
      metrics: { expose: async () => ({ contentType: 'text/plain', body }) },
      onRequestDone: recorded,
    });
    const taken = once(server, 'connection') as Promise<[Socket]>;
    const client = connect((server.address() as AddressInfo).port, '127.0.0.1').pause();
    client.write(`GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: ${KEY}\r\n\r\n`);
    const [socket] = await taken;
    while (socket.writableLength === 0) await new Promise(setImmediate);
    expect(socket.timeout).toBe(30_000);
    socket.emit('timeout');
    await record;
    client.destroy();
  });

  test('is cut off as well when its reply came in one piece', async () => {
    let recorded!: (record: RequestRecord) => void;
    const record = new Promise<RequestRecord>((resolve) => (recorded = resolve));
    await serve({ generate: saying(...Array<string>(200).fill(piece)), onRequestDone: recorded });
    const taken = once(server, 'connection') as Promise<[Socket]>;
    const response = await post('/v1/chat/completions', { messages: [{ role: 'user', content: 'x' }] });
    const [socket] = await taken;
    expect(socket.writableLength).toBeGreaterThan(0);
    expect(socket.timeout).toBe(30_000);
    // What Node does when a socket has moved no byte for that long.
    socket.emit('timeout');
    await record;
    await expect(chunksOf(response)).rejects.toMatchObject({ code: 'ECONNRESET' });
  });

  test.each([
    ['a stream', '1.1', undefined],
    ['a stream that broke off', '1.1', new LMServError('generation_failed')],
    ['a text for HTTP/1.0', '1.0', undefined],
  ])('is cut off as well after the end of its generation: %s', async (_name, version, failure) => {
    let recorded!: () => void;
    const record = new Promise<void>((resolve) => (recorded = resolve));
    // The end of a reply may come in the same packet as the text that fills the client's buffers.
    const generate: TestOptions['generate'] = async (_request, _context, sink) => {
      await Promise.resolve();
      for (const event of events(piece.repeat(all))) sink.event(event);
      if (failure) throw failure;
    };
    await serve({ generate, onRequestDone: recorded });
    const taken = once(server, 'connection') as Promise<[Socket]>;
    const client = connect((server.address() as AddressInfo).port, '127.0.0.1').pause();
    const path = version === '1.0' ? '/chat' : '/v1/chat/completions';
    const body = JSON.stringify(
      version === '1.0' ? { prompt: 'x' } : { messages: [{ role: 'user', content: 'x' }], stream: true },
    );
    client.write(
      `POST ${path} HTTP/${version}\r\nHost: 127.0.0.1\r\nX-API-Key: ${KEY}\r\n` +
        `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    const [socket] = await taken;
    while (socket.writableLength === 0) await new Promise(setImmediate);
    expect(socket.timeout).toBe(30_000);
    socket.emit('timeout');
    await record;
    client.destroy();
  });
});

describe('shutting down', () => {
  test('refuses new requests and lets open replies finish', async () => {
    const inFlight = new InFlight();
    const { generate, step } = stepped();
    await serve({ generate, inFlight });
    const open = await post('/chat', { prompt: 'x' });
    await once(open, 'data');
    const drained = inFlight.drain(60_000);
    expect((await post('/chat', { prompt: 'x' })).statusCode).toBe(503);
    step();
    expect(await once(open, 'data')).toEqual(['t1']);
    open.destroy();
    await drained;
  });

  test('breaks open replies visibly after the grace period', async () => {
    const inFlight = new InFlight();
    const { generate } = stepped();
    await serve({ generate, inFlight });
    const response = await post('/v1/chat/completions', {
      messages: [{ role: 'user', content: 'x' }],
      stream: true,
    });
    await once(response, 'data');
    const text = chunksOf(response);
    await inFlight.drain(0);
    expect((await text).join('')).toMatch(/data: \{"error":\{.*"code":"draining"\}\}\n\n$/);
  });

  test('waits one second after the grace period for a request that does not end', async () => {
    const inFlight = new InFlight();
    let given!: AbortSignal;
    await serve({
      inFlight,
      generate: scripted(async function* (_request, { signal }) {
        given = signal;
        yield { type: 'text', index: 0, text: 'half' };
        await new Promise(() => undefined);
      }),
    });
    const response = await post('/chat', { prompt: 'x' });
    await once(response, 'data');
    jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate', 'queueMicrotask'] });
    try {
      let drained = false;
      const drain = inFlight.drain(5_000).then(() => (drained = true));
      await jest.advanceTimersByTimeAsync(5_000);
      expect(given.reason).toMatchObject({ code: 'draining' });
      await jest.advanceTimersByTimeAsync(999);
      expect(drained).toBe(false);
      await jest.advanceTimersByTimeAsync(1);
      await drain;
    } finally {
      jest.useRealTimers();
      response.on('error', () => undefined).destroy();
    }
  });
});

test('/llm returns a raw completion', async () => {
  const generate = saying('and ', 'more');
  await serve({ generate });
  const response = await post('/llm', { prompt: 'once', model: 'gpt-4o-mini' });
  expect(JSON.parse((await chunksOf(response)).join(''))).toMatchObject({ completion: 'and more' });
  expect(generate.requests).toEqual([
    {
      kind: 'raw',
      n: 1,
      model: 'gpt-4o-mini',
      unknownModel: 'default',
      body: { prompt: 'once', max_tokens: 256, temperature: 0.7 },
    },
  ]);
});

test('/llm returns the worker’s stderr when a generation fails', async () => {
  await serve({
    generate: failing(new LMServError('generation_failed', undefined, { stderr: 'CUDA error' })),
  });
  const response = await post('/llm', { prompt: 'once' });
  expect(response.statusCode).toBe(500);
  expect(JSON.parse((await chunksOf(response)).join('')).error.stderr).toBe('CUDA error');
});
