import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exchange, type Exchange, type Manner } from '../../chaos/exchange.js';

let server: Server | undefined;

afterEach(() => {
  server?.close();
  server?.closeAllConnections();
});

async function ask(listener: RequestListener, manner?: Manner): Promise<Exchange> {
  server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return exchange({ port, key: 'k' }, { method: 'POST', path: '/', body: 'a body' }, manner);
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
  'a whole reply, read by %j',
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

test('a connection that breaks in the middle', async () => {
  const cut: RequestListener = (_, response) => response.write('one', () => response.destroy());
  expect(await ask(cut)).toMatchObject({ status: 200, body: 'one', complete: false, failure: 'ECONNRESET' });
});

test('a connection that breaks before the reply', async () => {
  const cut: RequestListener = (request) => request.socket.destroy();
  expect(await ask(cut)).toMatchObject({ status: undefined, complete: false, failure: 'ECONNRESET' });
});

test('who leaves in the middle of a stream has left, though the rest came in the same moment', async () => {
  const seen = await ask((_, response) => response.end('all'), { kind: 'leavesStreaming', afterPieces: 1 });
  expect(seen).toMatchObject({ complete: false, gaveUp: 'left' });
});

test('who leaves before the reply has left', async () => {
  expect(await ask(never, { kind: 'leavesWaiting', afterMs: 1 })).toMatchObject({
    status: undefined,
    gaveUp: 'left',
  });
});

test('who leaves while sending has not sent it all', async () => {
  let whole: boolean | undefined;
  const listener: RequestListener = (request) => {
    request.on('error', () => undefined).on('close', () => (whole = request.complete));
  };
  const seen = await ask(listener, { kind: 'leavesSending', afterMs: 50 });
  expect([whole ?? false, seen.status, seen.gaveUp]).toEqual([false, undefined, 'left']);
});
