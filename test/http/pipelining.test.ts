import { once } from 'node:events';
import type { Server } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { jest } from '@jest/globals';
import { InFlight } from '../../src/http/in-flight.js';
import type { RequestRecord } from '../../src/http/request-log.js';
import { httpServer } from '../../src/http/server.js';
import { events, KEY, testApp, type TestOptions } from '../support/app.js';
import { scripted } from '../support/pulled.js';

/** Requests that come on one connection before the first of them is answered. */

let server: Server;
let client: Socket;

/** Serves, and connects the client; resolves with the server's end of the connection. */
async function serve(options: Partial<TestOptions>): Promise<Socket> {
  server = httpServer(testApp(options)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const taken = once(server, 'connection') as Promise<[Socket]>;
  client = connect((server.address() as AddressInfo).port, '127.0.0.1').setEncoding('utf8');
  return (await taken)[0];
}

afterEach(async () => {
  client.destroy();
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
});

function send(...prompts: string[]): void {
  for (const prompt of prompts) {
    const body = JSON.stringify({ prompt });
    const headers = [
      ...['Host: localhost', `X-API-Key: ${KEY}`, 'Content-Type: application/json'],
      `Content-Length: ${body.length}`,
    ];
    client.write(`POST /chat HTTP/1.1\r\n${headers.join('\r\n')}\r\n\r\n${body}`);
  }
}

/** The user's prompt. */
const promptOf = (request: Parameters<TestOptions['generate']>[0]) =>
  (request.body as { messages: { content: string }[] }).messages.at(-1)!.content;

/** A generation that lasts until it is aborted; the prompt `short` is answered at once. */
function endless() {
  const signals: AbortSignal[] = [];
  const generate = scripted(async function* (request, { signal }) {
    signals.push(signal);
    if (promptOf(request) === 'short') yield* events('done');
    else {
      yield { type: 'text', index: 0, text: 'first' };
      await once(signal, 'abort');
      throw signal.reason as Error;
    }
  });
  return { generate, signals };
}

/** The records of the first so many requests. */
function recorded(count: number) {
  const records: RequestRecord[] = [];
  let onAll!: (records: RequestRecord[]) => void;
  const all = new Promise<RequestRecord[]>((resolve) => (onAll = resolve));
  const onRequestDone = (record: RequestRecord) => {
    if (records.push(record) === count) onAll(records);
  };
  return { all, onRequestDone };
}

/** Resolves when so many generations have begun. */
async function begun(signals: readonly AbortSignal[], count: number): Promise<void> {
  while (signals.length < count) await new Promise(setImmediate);
}

test('a client that leaves ends all its requests, including those without a reply', async () => {
  const inFlight = new InFlight();
  const { generate, signals } = endless();
  const { all, onRequestDone } = recorded(4);
  await serve({ generate, inFlight, onRequestDone });
  send('a', 'b', 'c', 'd');
  await begun(signals, 4);
  client.destroy();
  const records = await all;
  expect(records.map(({ outcome }) => outcome)).toEqual(Array(4).fill('cancelled'));
  expect(new Set(records.map(({ requestId }) => requestId)).size).toBe(4);
  expect(signals.map(({ aborted }) => aborted)).toEqual(Array(4).fill(true));
  await inFlight.drain(60_000);
});

test('a complete reply that waits behind another counts as not delivered', async () => {
  const { generate, signals } = endless();
  const { all, onRequestDone } = recorded(2);
  await serve({ generate, onRequestDone });
  send('a', 'short');
  await begun(signals, 2);
  client.destroy();
  expect((await all).map(({ outcome }) => outcome)).toEqual(['cancelled', 'cancelled']);
});

test('many requests on a connection add no more listeners than a few', async () => {
  const { generate, signals } = endless();
  const { all, onRequestDone } = recorded(12);
  const socket = await serve({ generate, onRequestDone });
  send(...Array<string>(12).fill('a'));
  await begun(signals, 12);
  expect(socket.listenerCount('close')).toBeLessThan(socket.getMaxListeners());
  client.destroy();
  await all;
});

test('a reply behind another may wait longer than a client may stall', async () => {
  // More than a response holds before it asks to wait.
  const large = 'x'.repeat(512 * 1024);
  let finish!: () => void;
  const finished = new Promise<void>((resolve) => (finish = resolve));
  let onHeld!: () => void;
  const held = new Promise<void>((resolve) => (onHeld = resolve));
  const socket = await serve({
    generate: scripted(async function* (request, { flow }) {
      if (promptOf(request) === 'slow') {
        await finished;
        return yield* events('slow');
      }
      flow.attach({ pause: onHeld, resume: () => undefined });
      yield* events(large, 'the end');
    }),
  });
  send('slow', 'large');
  await held;
  // What Node does when a socket has moved no byte for 30 s.
  socket.emit('timeout');
  finish();
  let text = '';
  while (!text.includes('the end')) text += ((await once(client, 'data')) as [string])[0];
  expect(text.split('HTTP/1.1 200 OK')).toHaveLength(3);
});

test.each([
  [20, 20, false],
  [21, 20, true],
  [150, 20, true],
])(
  'a connection with more than 20 open requests is closed: of %i, %i are taken',
  async (sent, taken, closed) => {
    const { generate, signals } = endless();
    const { all, onRequestDone } = recorded(taken);
    const socket = await serve({ generate, onRequestDone });
    send(...Array<string>(sent).fill('a'));
    if (!closed) {
      await begun(signals, taken);
      expect(socket.destroyed).toBe(false);
      client.destroy();
    }
    expect((await all).map(({ outcome }) => outcome)).toEqual(Array(taken).fill('cancelled'));
    await new Promise(setImmediate);
    expect(await all).toHaveLength(taken);
  },
);

test('an idle connection is closed, one with an open request is not', async () => {
  let finish!: () => void;
  const finished = new Promise<void>((resolve) => (finish = resolve));
  const socket = await serve({
    generate: scripted(async function* (request) {
      if (promptOf(request) === 'slow') await finished;
      yield* events(promptOf(request));
    }),
  });
  send('short', 'slow');
  let text = '';
  while (!text.includes('short')) text += ((await once(client, 'data')) as [string])[0];
  socket.emit('timeout');
  finish();
  while (!text.includes('slow')) text += ((await once(client, 'data')) as [string])[0];
  while (
    !text.endsWith('0\r\nX-Finish-Reason: stop\r\n\r\n') ||
    text.split('X-Finish-Reason: stop').length < 3
  )
    text += ((await once(client, 'data')) as [string])[0];
  const closed = once(client, 'close');
  await new Promise(setImmediate);
  socket.emit('timeout');
  await closed;
});

test('requests that come together are spread over iterations of the event loop, and answered in order', async () => {
  let iteration = 0;
  const next = () => {
    iteration += 1;
    counting = setImmediate(next);
  };
  let counting = setImmediate(next);
  const seen: { prompt: string; iteration: number }[] = [];
  await serve({
    generate: scripted(async function* (request) {
      seen.push({ prompt: promptOf(request), iteration });
      yield* events(promptOf(request));
    }),
  });
  // Each look at the clock takes as long as a request of several milliseconds.
  let now = performance.now();
  const clock = jest.spyOn(performance, 'now').mockImplementation(() => (now += 4));
  try {
    const prompts = Array.from({ length: 20 }, (_, index) => `p${index}`);
    send(...prompts);
    let text = '';
    while (!text.includes('p19')) text += ((await once(client, 'data')) as [string])[0];
    expect(seen.map(({ prompt }) => prompt)).toEqual(prompts);
    expect(text.match(/p\d+/g)).toEqual(prompts);
    expect(new Set(seen.map((one) => one.iteration)).size).toBeGreaterThan(4);
  } finally {
    clock.mockRestore();
    clearImmediate(counting);
  }
});
