import { once } from 'node:events';
import type { Socket } from 'node:net';
import { jest } from '@jest/globals';
import { InFlight } from '../../src/http/in-flight.js';
import { events, recording, type TestOptions } from '../support/app.js';
import { scripted } from '../support/pulled.js';
import { connection, requestText, serving, textUntil, timeOut } from './serving.js';

/** Requests that arrive on one connection before the first of them has its reply. */

/** Serves an app and connects; `socket` is the server's end of the connection. */
async function start(options: Partial<TestOptions>) {
  const { server, url } = await serving(options);
  const taken = once(server, 'connection') as Promise<[Socket]>;
  const client = connection(url);
  const [socket] = await taken;
  const send = (...prompts: string[]): void => {
    for (const prompt of prompts) client.write(requestText('/chat', { prompt }));
  };
  return { client, socket, send };
}

/** The user's prompt. */
const promptOf = (request: Parameters<TestOptions['generate']>[0]) =>
  (request.body as { messages: { content: string }[] }).messages.at(-1)!.content;

/** Generations that last until they are aborted, except that the prompt `short` has its reply at once. */
function endless() {
  const { onRequestDone, ended } = recording();
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
  const begun = async (count: number): Promise<void> => {
    while (signals.length < count) await new Promise(setImmediate);
  };
  return { options: { generate, onRequestDone }, signals, begun, ended };
}

/** A generation that repeats its prompt; for the prompt `slow` it waits until `finish()`. */
function echo(long = '') {
  let finish!: () => void;
  const finished = new Promise<void>((resolve) => (finish = resolve));
  let onHeld!: () => void;
  /** A reply waits for its client to read. */
  const held = new Promise<void>((resolve) => (onHeld = resolve));
  const generate = scripted(async function* (request, { flow }) {
    if (promptOf(request) === 'slow') {
      await finished;
      return yield* events('slow');
    }
    flow.attach({ pause: onHeld, resume: () => undefined });
    yield* events(long, promptOf(request));
  });
  return { generate, held, finish };
}

test('a client that leaves ends all its requests, including those without a reply', async () => {
  const inFlight = new InFlight();
  const { options, signals, begun, ended } = endless();
  const { client, send } = await start({ ...options, inFlight });
  send('a', 'b', 'c', 'd');
  await begun(4);
  client.destroy();
  const records = await ended(4);
  expect(records.map(({ outcome }) => outcome)).toEqual(Array(4).fill('cancelled'));
  expect(new Set(records.map(({ requestId }) => requestId)).size).toBe(4);
  expect(signals.map(({ aborted }) => aborted)).toEqual(Array(4).fill(true));
  await inFlight.drain(60_000);
});

test('a complete reply that waits behind another counts as not delivered', async () => {
  const { options, begun, ended } = endless();
  const { client, send } = await start(options);
  send('a', 'short');
  await begun(2);
  client.destroy();
  expect((await ended(2)).map(({ outcome }) => outcome)).toEqual(['cancelled', 'cancelled']);
});

test('many requests on a connection add no more listeners than a few', async () => {
  const { options, begun, ended } = endless();
  const { client, socket, send } = await start(options);
  send(...Array<string>(12).fill('a'));
  await begun(12);
  expect(socket.listenerCount('close')).toBeLessThan(socket.getMaxListeners());
  client.destroy();
  await ended(12);
});

test('a reply behind another may wait longer than a client may stall', async () => {
  // More than a response holds before it asks to wait.
  const { generate, held, finish } = echo('x'.repeat(512 * 1024));
  const { client, socket, send } = await start({ generate });
  send('slow', 'the end');
  await held;
  timeOut(socket);
  finish();
  expect((await textUntil(client, 'the end')).split('HTTP/1.1 200 OK')).toHaveLength(3);
});

test.each([
  [20, 20, false],
  [21, 20, true],
  [150, 20, true],
])(
  'a connection with more than 20 open requests is closed: of %i, %i are taken',
  async (sent, taken, closed) => {
    const { options, begun, ended } = endless();
    const { client, socket, send } = await start(options);
    send(...Array<string>(sent).fill('a'));
    if (!closed) {
      await begun(taken);
      expect(socket.destroyed).toBe(false);
      client.destroy();
    }
    expect((await ended(taken)).map(({ outcome }) => outcome)).toEqual(Array(taken).fill('cancelled'));
    await new Promise(setImmediate);
    expect(await ended(taken)).toHaveLength(taken);
  },
);

test('an idle connection is closed, one with an open request is not', async () => {
  const { options, ended } = endless();
  const { generate, finish } = echo();
  const { client, socket, send } = await start({ ...options, generate });
  send('short', 'slow');
  await textUntil(client, 'short');
  timeOut(socket);
  finish();
  await textUntil(client, 'slow');
  await ended(2);
  const closed = once(client, 'close');
  // Of a connection without a request Node times the next one.
  socket.emit('timeout');
  await closed;
});

test('requests that come together are spread over iterations of the event loop, with replies in order', async () => {
  let iteration = 0;
  const next = () => {
    iteration += 1;
    counting = setImmediate(next);
  };
  let counting = setImmediate(next);
  const seen: { prompt: string; iteration: number }[] = [];
  const { client, send } = await start({
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
    const text = await textUntil(client, 'p19');
    expect(seen.map(({ prompt }) => prompt)).toEqual(prompts);
    expect(text.match(/p\d+/g)).toEqual(prompts);
    expect(new Set(seen.map((one) => one.iteration)).size).toBeGreaterThan(4);
  } finally {
    clock.mockRestore();
    clearImmediate(counting);
  }
});
