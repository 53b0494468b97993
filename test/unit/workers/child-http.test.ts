import { getEventListeners, once } from 'node:events';
import { Agent, type ServerResponse } from 'node:http';
import { ReplyFlow } from '../../../src/generate/flow.js';
import { postStream, type ChildChunk } from '../../../workers/child-http.js';
import { ProgressWatch } from '../../../workers/progress.js';
import { fakeServer, serve } from '../../support/fake-server.js';

/** A stream as a child sends it, byte by byte under control. */

let flow: ReplyFlow;
let agent: Agent;

beforeEach(() => {
  flow = new ReplyFlow();
  agent = new Agent({ keepAlive: false });
});

/** Posts to a child that replies as `reply` says; `activity` is what its worker is judged by. */
async function stream(
  reply: (response: ServerResponse) => void,
  onChunk: (chunk: ChildChunk) => void,
  signal: AbortSignal = new AbortController().signal,
) {
  const url = await serve((_request, response) => {
    response.writeHead(200).flushHeaders();
    reply(response);
  });
  const port = Number(new URL(url).port);
  const activity = new ProgressWatch({ prefill: 1, decode: 1 }).begin(performance.now());
  const options = { signal, flow, activity, agent, held: new Set<() => void>(), reply: { chunk: onChunk } };
  return { activity, done: postStream({ port }, '/', '{}', options) };
}

const event = (value: object | string) =>
  `data: ${typeof value === 'string' ? value : JSON.stringify(value)}\n\n`;

const said = (chunks: readonly ChildChunk[]) => chunks.map((chunk) => (chunk as { text?: string }).text);

test('a character that is cut by a packet comes out whole', async () => {
  const chunks: ChildChunk[] = [];
  const bytes = Buffer.from(event({ text: '🦙é' }) + event('[DONE]'));
  const send = async (response: ServerResponse) => {
    for (const byte of bytes) await new Promise((resolve) => response.write(Buffer.from([byte]), resolve));
    response.end();
  };
  const { done } = await stream(
    (response) => void send(response),
    (chunk) => chunks.push(chunk),
  );
  await done;
  expect(said(chunks)).toEqual(['🦙é']);
});

test.each<[string, (response: ServerResponse) => void]>([
  ['is cut', (response) => response.destroy()],
  ['ends early', (response) => response.end()],
  ['holds something that is not JSON', (response) => response.write(event('oops'))],
])('what came before a stream %s is passed on, then it is lost', async (_, breakOff) => {
  const chunks: ChildChunk[] = [];
  const { done } = await stream(
    (response) => response.write(event({ text: 'a' }) + event({ text: 'b' }), () => breakOff(response)),
    (chunk) => chunks.push(chunk),
  );
  await expect(done).rejects.toMatchObject({ name: 'ConnectionLost' });
  expect(said(chunks)).toEqual(['a', 'b']);
});

test('a stream whose agent is destroyed is lost, although the child would go on', async () => {
  const { done } = await stream(
    (response) => response.write(event({ text: 'a' })),
    () => agent.destroy(),
  );
  await expect(done).rejects.toMatchObject({ name: 'ConnectionLost' });
});

test('an error in the stream is a refusal, after what came before it', async () => {
  const chunks: ChildChunk[] = [];
  const error = { error: { code: 400, type: 'bad', message: 'no' } };
  const { done } = await stream(
    (response) => response.end(event({ text: 'a' }) + event(error) + event({ text: 'b' })),
    (chunk) => chunks.push(chunk),
  );
  await expect(done).rejects.toMatchObject({ name: 'ChildRefusal', status: 400, type: 'bad' });
  expect(said(chunks)).toEqual(['a']);
});

test('what is done with an event may throw: that ends the reply, cuts the connection and is thrown', async () => {
  let closed!: Promise<unknown>;
  const full = new Error('full');
  const { done } = await stream(
    (response) => {
      closed = once(response, 'close');
      response.write(event({ text: 'a' }) + event({ text: 'b' }));
    },
    () => {
      throw full;
    },
  );
  await expect(done).rejects.toBe(full);
  await closed;
});

test('a reply that is held is not read and its worker not awaited, until it is released', async () => {
  const piece = 'x'.repeat(64 * 1024);
  const all = 512;
  let got = 0;
  const send = async (response: ServerResponse) => {
    for (let sent = 0; sent < all; sent += 1) {
      if (!response.write(event({ text: piece }))) await once(response, 'drain');
    }
    response.end(event('[DONE]'));
  };
  const { done, activity } = await stream(
    (response) => void send(response),
    () => {
      got += 1;
      if (got === 1) flow.hold();
    },
  );
  while (!activity.held) await new Promise(setImmediate);
  for (let turns = 0; turns < 100; turns += 1) await new Promise(setImmediate);
  // What was in the packet when it was held, at most.
  expect(got).toBeLessThanOrEqual(2);
  const now = performance.now();
  flow.release();
  expect(activity.held).toBe(false);
  expect(activity.awaitedSince).toBeGreaterThanOrEqual(now);
  await done;
  expect(got).toBe(all);
});

test('a stream that begins while its client does not read waits for it', async () => {
  const chunks: ChildChunk[] = [];
  flow.hold();
  const { done, activity } = await stream(
    (response) => response.end(event({ text: 'a' }) + event('[DONE]')),
    (chunk) => chunks.push(chunk),
  );
  while (!activity.held) await new Promise(setImmediate);
  await new Promise(setImmediate);
  expect(chunks).toEqual([]);
  flow.release();
  await done;
  expect(said(chunks)).toEqual(['a']);
});

test('a client that leaves while it is held cuts the connection', async () => {
  let closed!: Promise<unknown>;
  const client = new AbortController();
  const gone = new Error('gone');
  const { done } = await stream(
    (response) => {
      closed = once(response, 'close');
      response.write(event({ text: 'a' }));
    },
    () => {
      flow.hold();
      client.abort(gone);
    },
    client.signal,
  );
  await expect(done).rejects.toBe(gone);
  await closed;
});

test('a client that leaves while the whole reply waits for it ends it', async () => {
  const client = new AbortController();
  let closed!: Promise<unknown>;
  flow.hold();
  const { done, activity } = await stream(
    (response) => {
      closed = once(response, 'close');
      response.end(event({ text: 'a' }) + event('[DONE]'));
    },
    () => undefined,
    client.signal,
  );
  while (!activity.held) await new Promise(setImmediate);
  await closed;
  // The connection's end comes to our side as well.
  for (let turns = 0; turns < 10; turns += 1) await new Promise(setImmediate);
  const gone = new Error('gone');
  client.abort(gone);
  await expect(done).rejects.toBe(gone);
});

test('a finished reply leaves no listener on its signal, which would keep it in memory', async () => {
  const { signal } = new AbortController();
  const { done } = await stream(
    (response) => response.end(event({ text: 'a' }) + event('[DONE]')),
    () => undefined,
    signal,
  );
  await done;
  expect(getEventListeners(signal, 'abort')).toEqual([]);
});

test('prefill progress and tokens are signs of life, comments are not', async () => {
  let more!: (text: string) => Promise<void>;
  let arrived!: () => void;
  const next = () => new Promise<void>((resolve) => (arrived = resolve));
  let came = next();
  const { done, activity } = await stream(
    (response) => (more = (text) => new Promise((resolve) => response.write(text, () => resolve()))),
    () => arrived(),
  );
  while (more === undefined) await new Promise(setImmediate);
  await more(event({ prompt_progress: { total: 2, cache: 0, processed: 1 } }));
  await came;
  expect(activity.phase).toBe('prefill');
  const prefill = activity.progressAt;
  expect(prefill).toBeGreaterThan(0);
  came = next();
  await more(': ping\n\n');
  await new Promise(setImmediate);
  expect(activity.progressAt).toBe(prefill);
  await more(event({ text: 'a' }));
  await came;
  expect(activity.phase).toBe('decode');
  expect(activity.progressAt).toBeGreaterThan(prefill);
  await more(event('[DONE]'));
  await done;
});

test('a request in pieces arrives whole', async () => {
  const { url, received } = await fakeServer((response) => void response.writeHead(200).end(event('[DONE]')));
  const activity = new ProgressWatch({ prefill: 1, decode: 1 }).begin(performance.now());
  const { signal } = new AbortController();
  const options = {
    signal,
    flow,
    activity,
    agent,
    held: new Set<() => void>(),
    reply: { chunk: () => undefined },
  };
  const text = 'x'.repeat(400_000);
  await postStream({ port: Number(new URL(url).port) }, '/', ['{"a":"', text, text, '"}'], options);
  expect(received.map(({ body }) => body)).toEqual([{ a: text + text }]);
});
