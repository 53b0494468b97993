import { once } from 'node:events';
import { BrokenStreamError, createClient, TimeoutError } from '../../../src/client/index.js';
import type { Client } from '../../../src/client/index.js';
import {
  FakeServer,
  collect,
  cutAfter,
  delta,
  done,
  event,
  failure,
  finish,
  json,
  openSse,
  sse,
  stopServers,
} from './fake-server.js';
import type { Answer } from './fake-server.js';

const { jest } = import.meta;

afterEach(stopServers);

async function clientOf(answer: Answer, timeoutSecs = 30): Promise<{ client: Client; server: FakeServer }> {
  const server = await FakeServer.start(answer);
  return { server, client: createClient({ baseUrl: server.url, timeoutSecs, fallback: 'none' }) };
}

/** Everything a stream yields and what it throws at the end. */
async function drain(source: AsyncIterable<string>): Promise<{ texts: string[]; thrown: unknown }> {
  const texts: string[] = [];
  try {
    for await (const text of source) texts.push(text);
  } catch (thrown) {
    return { texts, thrown };
  }
  return { texts, thrown: undefined };
}

test('yields the texts alone: no role, reasoning, usage, ping or empty piece', async () => {
  const { client, server } = await clientOf(
    sse(
      event({ choices: [{ index: 0, delta: { role: 'assistant', content: '' } }] }),
      ': ping\n\n',
      event({ choices: [{ index: 0, delta: { reasoning_content: 'hmm' } }] }),
      delta('Hé'),
      delta('llo 🦙'),
      finish('stop'),
      event({ choices: [], usage: { prompt_tokens: 1 } }),
      done,
    ),
  );
  expect(await collect(client.stream('hi'))).toEqual(['Hé', 'llo 🦙']);
  expect(server.received[0]!.body).toMatchObject({ stream: true });
});

test('a piece is yielded before the next one is sent', async () => {
  let go: () => void = () => undefined;
  const taken = new Promise<void>((resolve) => (go = resolve));
  const { client } = await clientOf(async (response) => {
    openSse(response);
    response.write(delta('first'));
    await taken;
    response.end(delta('second') + done);
  });
  const texts: string[] = [];
  for await (const text of client.stream('hi')) {
    texts.push(text);
    go();
  }
  expect(texts).toEqual(['first', 'second']);
});

test('nothing is sent before the first piece is asked for', async () => {
  const { client, server } = await clientOf(sse(delta('x'), done));
  const source = client.stream('hi');
  expect(await collect(client.stream('other'))).toEqual(['x']);
  expect(server.received).toHaveLength(1);
  await collect(source);
  expect(server.received).toHaveLength(2);
});

test.each<[string, Answer]>([
  ['the connection is cut', cutAfter(delta('par'), delta('tial'))],
  ['the answer ends without [DONE]', sse(delta('par'), delta('tial'))],
  ['the answer ends within an event', sse(delta('par'), delta('tial'), 'data: {"choices"')],
  ['an event is not JSON', sse(delta('par'), delta('tial'), 'data: {nope\n\n', done)],
])('broken when %s', async (_name, answer) => {
  const { client } = await clientOf(answer);
  const { texts, thrown } = await drain(client.stream('hi'));
  expect(texts.join('')).toBe('partial');
  expect(thrown).toBeInstanceOf(BrokenStreamError);
  expect(thrown).toMatchObject({ code: 'stream_cut', status: 200, requestId: 'req-1' });
});

test('an error event is a broken stream with the code of the server', async () => {
  const lost = {
    error: { message: 'The generation\nfailed', type: 'server_error', code: 'generation_failed' },
  };
  const { client } = await clientOf(sse(delta('par'), event(lost)));
  const { texts, thrown } = await drain(client.stream('hi'));
  expect(texts).toEqual(['par']);
  expect(thrown).toBeInstanceOf(BrokenStreamError);
  expect(thrown).toMatchObject({
    code: 'generation_failed',
    message: 'The generation failed',
    requestId: 'req-1',
  });
});

test('`"error": null` is no error', async () => {
  const { client } = await clientOf(
    sse(event({ error: null, choices: [{ delta: { content: 'x' } }] }), done),
  );
  expect(await collect(client.stream('hi'))).toEqual(['x']);
});

test('an answer that is no stream is broken, not empty', async () => {
  const { client } = await clientOf(json(200, { choices: [{ message: { content: 'x' } }] }));
  expect(await failure(collect(client.stream('hi')))).toBeInstanceOf(BrokenStreamError);
});

test('the time-out counts for the headers', async () => {
  const { client } = await clientOf(() => undefined, 0.05);
  const error = await failure(collect(client.stream('hi')));
  expect(error).toBeInstanceOf(TimeoutError);
  expect(error).toMatchObject({ code: 'timeout', status: undefined });
});

test('the time-out counts between two pieces', async () => {
  const { client } = await clientOf((response) => {
    openSse(response);
    response.write(delta('one'));
  });
  // Only the clock of the client stands still; the network's own timers run on.
  jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate'] });
  try {
    const pieces = client.stream('hi')[Symbol.asyncIterator]();
    expect(await pieces.next()).toEqual({ value: 'one', done: false });
    const next = failure(pieces.next());
    await jest.advanceTimersByTimeAsync(30_000);
    expect(await next).toBeInstanceOf(TimeoutError);
  } finally {
    jest.useRealTimers();
  }
});

test('a server that leaves the connection open after [DONE] does not break the answer', async () => {
  const { client } = await clientOf((response) => {
    openSse(response);
    response.write(delta('all') + done);
  });
  expect(await collect(client.stream('hi'))).toEqual(['all']);
});

test('leaving the loop closes the connection', async () => {
  let closed: Promise<unknown> = Promise.resolve();
  const { client } = await clientOf((response) => {
    closed = once(response, 'close');
    openSse(response);
    response.write(delta('one'));
  });
  for await (const text of client.stream('hi')) {
    expect(text).toBe('one');
    break;
  }
  await closed;
});

describe("the caller's signal", () => {
  test('stops a stream with its own reason and closes the connection', async () => {
    let closed: Promise<unknown> = Promise.resolve();
    const { client } = await clientOf((response) => {
      closed = once(response, 'close');
      openSse(response);
      response.write(delta('one'));
    });
    const controller = new AbortController();
    const reason = new Error('enough');
    const texts: string[] = [];
    const all = (async () => {
      for await (const text of client.stream('hi', { signal: controller.signal })) {
        texts.push(text);
        controller.abort(reason);
      }
    })();
    expect(await failure(all)).toBe(reason);
    expect(texts).toEqual(['one']);
    await closed;
  });

  test('yields nothing more even when more has come already', async () => {
    const { client } = await clientOf(sse(delta('one') + delta('two') + delta('three') + done));
    const controller = new AbortController();
    const texts: string[] = [];
    const all = (async () => {
      for await (const text of client.stream('hi', { signal: controller.signal })) {
        texts.push(text);
        controller.abort();
      }
    })();
    expect(await failure(all)).toMatchObject({ name: 'AbortError' });
    expect(texts).toEqual(['one']);
  });

  test('stops generate while the server thinks', async () => {
    const controller = new AbortController();
    const { client } = await clientOf(() => controller.abort());
    const error = await failure(client.generate('hi', { signal: controller.signal }));
    expect(error).toBe(controller.signal.reason);
  });

  test('already aborted, sends nothing', async () => {
    const { client, server } = await clientOf(sse(delta('x'), done));
    const signal = AbortSignal.abort();
    expect(await failure(client.generate('hi', { signal }))).toBe(signal.reason);
    expect(await failure(collect(client.stream('hi', { signal })))).toBe(signal.reason);
    expect(server.received).toHaveLength(0);
  });
});

test('every place where the network may split a stream gives the same answer', async () => {
  const whole = Buffer.from(delta('né') + delta('🦙!') + done);
  let cut = 0;
  const { client } = await clientOf(async (response) => {
    openSse(response);
    response.socket?.setNoDelay(true);
    await new Promise((resolve) => response.write(whole.subarray(0, cut), resolve));
    response.end(whole.subarray(cut));
  });
  for (cut = 1; cut < whole.length; cut += 1) {
    expect((await collect(client.stream('hi'))).join('')).toBe('né🦙!');
  }
});
