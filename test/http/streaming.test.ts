import { once } from 'node:events';
import type { Socket } from 'node:net';
import { text as textOf } from 'node:stream/consumers';
import { jest } from '@jest/globals';
import type { GenerateEvent } from '../../src/contract.js';
import { LMServError } from '../../src/errors.js';
import { InFlight } from '../../src/http/in-flight.js';
import { events, failing, KEY, playing, recording, saying, type TestOptions } from '../support/app.js';
import { begin } from '../support/exchange.js';
import { fakeTimeouts } from '../support/clock.js';
import { scripted } from '../support/pulled.js';
import { connection, requestText, serving, textUntil, timeOut } from './serving.js';

/** What only a connection shows: chunks as they arrive, cut streams, trailers, clients that leave. */

const messages = [{ role: 'user', content: 'x' }];
const CHAT = '/v1/chat/completions';

/** Serves one app; `post` begins a request to it, and `taken` is the server's end of the first connection. */
async function start(options: Partial<TestOptions>) {
  const { server, url } = await serving(options);
  const taken = once(server, 'connection').then(([socket]) => socket as Socket);
  const post = (path: string, body: object = { prompt: 'x' }) =>
    begin(url + path, { headers: { 'X-API-Key': KEY }, body });
  return { url, taken, post };
}

const half: GenerateEvent = { type: 'text', index: 0, text: 'half' };
const breaking = () => failing(new LMServError('generation_failed'), half);

/** A generation that makes a token at each `step()`. */
function stepped() {
  let step!: () => void;
  let ended!: (reason: unknown) => void;
  const endedWith = new Promise((resolve) => (ended = resolve));
  const generate = scripted(async function* (_request, { signal }) {
    try {
      for (let i = 0; ; i += 1) {
        yield { type: 'text', index: 0, text: `t${i}` };
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
  const { post } = await start({ generate });
  const response = await post('/chat');
  expect(response.headers).toMatchObject({
    'content-type': 'text/plain; charset=utf-8',
    'transfer-encoding': 'chunked',
    trailer: 'X-Finish-Reason',
  });
  for (let i = 0; i < 3; i += 1) {
    // The next token is not made before this one has arrived.
    expect(await once(response, 'data')).toEqual([`t${i}`]);
    step();
  }
  response.destroy();
});

test('/chat has its defaults and sends text only', async () => {
  const generate = playing([{ type: 'reasoning', index: 0, text: 'hidden' }, ...events('shown')]);
  const { post } = await start({ generate });
  const response = await post('/chat', { prompt: 'x', system_prompt: null });
  expect(await textOf(response)).toBe('shown');
  expect(response.trailers['x-finish-reason']).toBe('stop');
  expect(generate.requests[0]).toMatchObject({
    body: { messages, max_tokens: 256 },
    defaults: {
      sampling: { temperature: 0.8, top_p: 0.9, repeat_penalty: 1.1 },
      system: 'You are a helpful assistant.',
    },
  });
});

test('a /chat reply that breaks is cut, not ended', async () => {
  const { post } = await start({ generate: breaking() });
  const response = await post('/chat');
  await expect(textOf(response)).rejects.toMatchObject({ code: 'ECONNRESET' });
  expect(response.complete).toBe(false);
});

/** Sends a request as a client of HTTP/1.0 does; resolves with all it got. */
async function post10(options: Partial<TestOptions>): Promise<string> {
  const { url } = await start({ ...options, allowedHosts: ['*'] });
  const socket = connection(url);
  socket.write(requestText('/chat', { prompt: 'x' }, '1.0').replace('Host: localhost\r\n', ''));
  return textUntil(socket);
}

test('a client of HTTP/1.0 gets the text in one piece, with its length', async () => {
  const reply = await post10({ generate: saying('Hello', ' world') });
  expect(reply).toMatch(/^HTTP\/1.1 200 OK\r\n/);
  expect(reply).toContain('X-Finish-Reason: stop\r\n');
  expect(reply).toContain('Content-Length: 11\r\n');
  expect(reply.endsWith('\r\n\r\nHello world')).toBe(true);
});

test('a client of HTTP/1.0 gets an error instead of incomplete text when its reply breaks', async () => {
  const reply = await post10({ generate: breaking() });
  expect(reply).toMatch(/^HTTP\/1.1 500 /);
  expect(reply).not.toContain('half');
});

test.each(['/chat', CHAT])('a client that leaves cancels its generation: %s', async (path) => {
  const { generate, endedWith } = stepped();
  const { onRequestDone, ended } = recording();
  const { post } = await start({ generate, onRequestDone });
  const response = await post(path, { prompt: 'x', messages, stream: true });
  await once(response, 'data');
  response.destroy();
  expect(await endedWith).toMatchObject({ name: 'AbortError' });
  expect(await ended()).toMatchObject([{ outcome: 'cancelled' }]);
});

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
    const { post, taken } = await start({ generate });
    const response = await post('/chat');
    const socket = await taken;
    await quiet;
    expect(state.made).toBeLessThan(all);
    expect(socket.writableLength).toBeGreaterThan(0);
    expect(socket.writableLength).toBeLessThan(1024 * 1024);
    expect((await textOf(response)).length).toBe(all * piece.length);
  });

  test('is cut off after 30 s, its generation ended', async () => {
    const { state, quiet, end, generate } = large();
    const { onRequestDone, ended } = recording();
    const { post, taken } = await start({ generate, onRequestDone });
    const response = await post('/chat');
    await quiet;
    expect(state.ended).toBe(false);
    timeOut(await taken);
    expect(await ended()).toMatchObject([{ outcome: 'cancelled' }]);
    await end;
    expect(state.made).toBeLessThan(all);
    await expect(textOf(response)).rejects.toMatchObject({ code: 'ECONNRESET' });
  });

  test('is cut off on every route', async () => {
    const { onRequestDone, ended } = recording();
    const metrics = { expose: async () => ({ contentType: 'text/plain', body: piece.repeat(all) }) };
    const { url, taken } = await start({ metrics, onRequestDone });
    const client = connection(url).pause();
    client.write(`GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: ${KEY}\r\n\r\n`);
    const socket = await taken;
    while (socket.writableLength === 0) await new Promise(setImmediate);
    timeOut(socket);
    await ended();
  });

  test('is cut off as well when its reply came in one piece', async () => {
    const { onRequestDone, ended } = recording();
    const generate = saying(...Array<string>(200).fill(piece));
    const { post, taken } = await start({ generate, onRequestDone });
    const response = await post(CHAT, { messages });
    const socket = await taken;
    expect(socket.writableLength).toBeGreaterThan(0);
    timeOut(socket);
    await ended();
    await expect(textOf(response)).rejects.toMatchObject({ code: 'ECONNRESET' });
  });

  test.each([
    ['a stream', '1.1', undefined],
    ['a stream that broke off', '1.1', new LMServError('generation_failed')],
    ['a text for HTTP/1.0', '1.0', undefined],
  ])('is cut off as well after the end of its generation: %s', async (_name, version, failure) => {
    const { onRequestDone, ended } = recording();
    // The end of a reply may come in the same packet as the text that fills the client's buffers.
    const generate: TestOptions['generate'] = async (_request, _context, sink) => {
      await Promise.resolve();
      for (const event of events(piece.repeat(all))) sink.event(event);
      if (failure) throw failure;
    };
    const { url, taken } = await start({ generate, onRequestDone });
    const client = connection(url).pause();
    const [path, body] = version === '1.0' ? ['/chat', { prompt: 'x' }] : [CHAT, { messages, stream: true }];
    client.write(requestText(path, body, version));
    const socket = await taken;
    while (socket.writableLength === 0) await new Promise(setImmediate);
    timeOut(socket);
    await ended();
  });
});

describe('shutting down', () => {
  test('refuses new requests and lets open replies finish', async () => {
    const inFlight = new InFlight();
    const { generate, step } = stepped();
    const { post } = await start({ generate, inFlight });
    const open = await post('/chat');
    await once(open, 'data');
    const drained = inFlight.drain(60_000);
    expect((await post('/chat')).statusCode).toBe(503);
    step();
    expect(await once(open, 'data')).toEqual(['t1']);
    open.destroy();
    await drained;
  });

  test('breaks open replies visibly after the grace period', async () => {
    const inFlight = new InFlight();
    const { post } = await start({ generate: stepped().generate, inFlight });
    const response = await post(CHAT, { messages, stream: true });
    await once(response, 'data');
    const text = textOf(response);
    await inFlight.drain(0);
    expect(await text).toMatch(/data: \{"error":\{.*"code":"draining"\}\}\n\n$/);
  });

  test('waits one second after the grace period for a request that does not end', async () => {
    const inFlight = new InFlight();
    let given!: AbortSignal;
    const generate = scripted(async function* (_request, { signal }) {
      given = signal;
      yield half;
      await new Promise(() => undefined);
    });
    const { post } = await start({ inFlight, generate });
    const response = await post('/chat');
    await once(response, 'data');
    fakeTimeouts();
    let drained = false;
    const drain = inFlight.drain(5_000).then(() => (drained = true));
    await jest.advanceTimersByTimeAsync(5_000);
    expect(given.reason).toMatchObject({ code: 'draining' });
    await jest.advanceTimersByTimeAsync(999);
    expect(drained).toBe(false);
    await jest.advanceTimersByTimeAsync(1);
    await drain;
    response.on('error', () => undefined).destroy();
  });
});

test('/llm returns a raw completion', async () => {
  const generate = saying('and ', 'more');
  const { post } = await start({ generate });
  const response = await post('/llm', { prompt: 'once', model: 'gpt-4o-mini' });
  expect(JSON.parse(await textOf(response))).toMatchObject({ completion: 'and more' });
  expect(generate.requests).toEqual([
    {
      kind: 'raw',
      n: 1,
      model: 'gpt-4o-mini',
      unknownModel: 'default',
      body: { prompt: 'once', max_tokens: 256 },
      defaults: { sampling: { temperature: 0.7 } },
    },
  ]);
});

test('/llm returns the worker’s stderr when a generation fails', async () => {
  const generate = failing(new LMServError('generation_failed', undefined, { stderr: 'CUDA error' }));
  const { post } = await start({ generate });
  const response = await post('/llm', { prompt: 'once' });
  expect(response.statusCode).toBe(500);
  expect(JSON.parse(await textOf(response)).error.stderr).toBe('CUDA error');
});
