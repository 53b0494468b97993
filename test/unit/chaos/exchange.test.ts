import type { RequestListener } from 'node:http';
import { exchange, type Exchange, type Manner } from '../../chaos/exchange.js';
import { serve } from '../../support/fake-server.js';

async function ask(listener: RequestListener, manner?: Manner): Promise<Exchange> {
  const port = Number(new URL(await serve(listener)).port);
  return exchange(port, { method: 'POST', path: '/', body: 'a body' }, manner);
}

const streams: RequestListener = (_, response) => {
  response.writeHead(200, { Trailer: 'X-Finish-Reason' });
  response.write('one ');
  setImmediate(() => {
    response.write('two');
    response.addTrailers({ 'X-Finish-Reason': 'stop' });
    response.end();
  });
};

const never: RequestListener = () => undefined;

test.each([undefined, { kind: 'slow', pauses: [1, 1] } as const])(
  'a whole reply is complete, read by %j',
  async (manner) => {
    expect(await ask(streams, manner)).toMatchObject({
      status: 200,
      body: 'one two',
      complete: true,
      trailers: { 'x-finish-reason': 'stop' },
      gaveUp: undefined,
    });
  },
);

test('a connection that breaks in the middle leaves an incomplete reply', async () => {
  const cut: RequestListener = (_, response) => response.write('one', () => response.destroy());
  expect(await ask(cut)).toMatchObject({ status: 200, body: 'one', complete: false, failure: 'ECONNRESET' });
});

test('a connection that breaks before the reply leaves no status', async () => {
  const cut: RequestListener = (request) => request.socket.destroy();
  expect(await ask(cut)).toMatchObject({ status: undefined, complete: false, failure: 'ECONNRESET' });
});

test('a client that disconnects in the middle of a stream has left, even if the rest came at the same moment', async () => {
  const seen = await ask((_, response) => response.end('all'), { kind: 'leavesStreaming', afterPieces: 1 });
  expect(seen).toMatchObject({ complete: false, gaveUp: 'left' });
});

test('a client that disconnects before the reply has left', async () => {
  expect(await ask(never, { kind: 'leavesWaiting', afterMs: 1 })).toMatchObject({
    status: undefined,
    gaveUp: 'left',
  });
});

test('a client that disconnects while sending has not sent everything', async () => {
  let whole: boolean | undefined;
  const listener: RequestListener = (request) => {
    request.on('error', () => undefined).on('close', () => (whole = request.complete));
  };
  const seen = await ask(listener, { kind: 'leavesSending', afterMs: 50 });
  expect([whole ?? false, seen.status, seen.gaveUp]).toEqual([false, undefined, 'left']);
});
