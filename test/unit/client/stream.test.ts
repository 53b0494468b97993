import { once } from 'node:events';
import { BrokenStreamError, TimeoutError } from '../../../src/client/index.js';
import {
  cutAfter,
  delta,
  done,
  event,
  finish,
  json,
  openSse,
  sse,
  type Reply,
} from '../../support/fake-server.js';
import { clientOf, collect, drain, failure, failures } from './helpers.js';

const { jest } = import.meta;

/** A client whose server sends one piece and then nothing; `closed()` ends when the connection does. */
async function openStream() {
  let closed: Promise<unknown> | undefined;
  const reply: Reply = (response) => {
    closed = once(response, 'close');
    openSse(response, delta('one'));
  };
  const { client } = await clientOf(reply, { timeoutSecs: 30 });
  return { client, closed: () => closed };
}

test('a stream yields texts only: no role, reasoning, usage, ping or empty piece', async () => {
  const { client, received } = await clientOf(
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
  expect(received[0]!.body).toMatchObject({ stream: true });
});

test('a piece is yielded before the next one is sent', async () => {
  let go = () => undefined as void;
  const taken = new Promise<void>((resolve) => (go = resolve));
  const { client } = await clientOf(async (response) => {
    openSse(response, delta('first'));
    await taken;
    response.end(delta('second') + done);
  });
  const { texts, thrown } = await drain(client.stream('hi'), () => go());
  expect({ texts, thrown }).toEqual({ texts: ['first', 'second'], thrown: undefined });
});

test('nothing is sent before the first piece is requested', async () => {
  const { client, received } = await clientOf(sse(delta('x'), done));
  const source = client.stream('hi');
  expect(await collect(client.stream('other'))).toEqual(['x']);
  expect(received).toHaveLength(1);
  await collect(source);
  expect(received).toHaveLength(2);
});

test.each<[string, Reply]>([
  ['the connection is cut', cutAfter(delta('par'), delta('tial'))],
  ['the reply ends without [DONE]', sse(delta('par'), delta('tial'))],
  ['the reply ends within an event', sse(delta('par'), delta('tial'), 'data: {"choices"')],
  ['an event is not JSON', sse(delta('par'), delta('tial'), 'data: {nope\n\n', done)],
])('a stream is broken when %s', async (_, reply) => {
  const { client } = await clientOf(reply);
  const { texts, thrown } = await drain(client.stream('hi'));
  expect(texts.join('')).toBe('partial');
  expect(thrown).toBeInstanceOf(BrokenStreamError);
  expect(thrown).toMatchObject({ code: 'stream_cut', status: 200, requestId: 'req-1' });
});

test('an error event breaks a stream with the server’s code', async () => {
  const error = { message: 'The generation\nfailed', type: 'server_error', code: 'generation_failed' };
  const { client } = await clientOf(sse(delta('par'), event({ error })));
  const { texts, thrown } = await drain(client.stream('hi'));
  expect(texts).toEqual(['par']);
  expect(thrown).toBeInstanceOf(BrokenStreamError);
  const message = 'The generation failed';
  expect(thrown).toMatchObject({ code: 'generation_failed', message, requestId: 'req-1' });
});

test('`"error": null` is not an error', async () => {
  const { client } = await clientOf(
    sse(event({ error: null, choices: [{ delta: { content: 'x' } }] }), done),
  );
  expect(await collect(client.stream('hi'))).toEqual(['x']);
});

test('the reply of a server that never streams is one piece', async () => {
  const { client } = await clientOf(json(200, { choices: [{ message: { content: 'x' } }] }));
  expect(await collect(client.stream('hi'))).toEqual(['x']);
});

test('a reply that is neither a stream nor a reply is an error, not empty', async () => {
  const { client } = await clientOf(json(200, { object: 'list' }));
  const thrown = await failure(collect(client.stream('hi')));
  expect(thrown).toMatchObject({ name: 'ServerError', code: 'invalid_response' });
});

test('the timeout applies to the headers', async () => {
  const { client } = await clientOf(() => undefined, { timeoutSecs: 0.05 });
  const error = await failure(collect(client.stream('hi')));
  expect(error).toBeInstanceOf(TimeoutError);
  expect(error).toMatchObject({ code: 'timeout', status: undefined });
});

test('the timeout applies between two pieces', async () => {
  const { client } = await openStream();
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

test.each([
  ['[DONE]', done],
  ['its finish reason', finish('stop')],
])('a server that leaves the connection open after %s does not break the reply', async (_, end) => {
  const { client } = await clientOf((response) => openSse(response, delta('all') + end));
  expect(await collect(client.stream('hi'))).toEqual(['all']);
});

test('signs of life do not make a reply longer that has its finish reason', async () => {
  const { client } = await clientOf((response) => {
    openSse(response, delta('all') + finish('stop'));
    const beat = () => response.write(': ping\n\n', () => setImmediate(beat));
    beat();
  });
  expect(await collect(client.stream('hi'))).toEqual(['all']);
});

test('leaving the loop closes the connection', async () => {
  const { client, closed } = await openStream();
  for await (const text of client.stream('hi')) {
    expect(text).toBe('one');
    break;
  }
  await closed();
});

describe("the caller's signal", () => {
  test('stops a stream with its own reason and closes the connection', async () => {
    const { client, closed } = await openStream();
    const controller = new AbortController();
    const reason = new Error('enough');
    const source = client.stream('hi', { signal: controller.signal });
    const { texts, thrown } = await drain(source, () => controller.abort(reason));
    expect(thrown).toBe(reason);
    expect(texts).toEqual(['one']);
    await closed();
  });

  test('ends a stream even if more texts have already arrived', async () => {
    const { client } = await clientOf(sse(delta('one') + delta('two') + delta('three') + done));
    const controller = new AbortController();
    const source = client.stream('hi', { signal: controller.signal });
    const { texts, thrown } = await drain(source, () => controller.abort());
    expect(thrown).toMatchObject({ name: 'AbortError' });
    expect(texts).toEqual(['one']);
  });

  test('stops generate while the server thinks', async () => {
    const controller = new AbortController();
    const { client } = await clientOf(() => controller.abort());
    const error = await failure(client.generate('hi', { signal: controller.signal }));
    expect(error).toBe(controller.signal.reason);
  });

  test('that is already aborted prevents any request', async () => {
    const { client, received } = await clientOf(sse(delta('x'), done));
    const signal = AbortSignal.abort();
    for (const error of await failures(client, { signal })) expect(error).toBe(signal.reason);
    expect(received).toHaveLength(0);
  });
});

test('every place where the network may split a stream gives the same reply', async () => {
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
