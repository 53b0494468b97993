import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { CLI, KEY, Program } from '../support/serve.js';

/** A port that outlives the server, as lmserv.socket makes it: descriptor 3 in one process after the other. */

/** Two servers, one after the other; between them it waits for a line. The shell stands for systemd: it never accepts. */
const TWO_SERVERS = `
one() { sh -c 'echo "{\\"event\\":\\"process\\",\\"pid\\":$$}"; LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@"' "$@" </dev/null; }
one "$@"; echo '{"event":"gone"}'; read go; one "$@"`;

let port: number;

/** Listens, leaves the listening to the program, and lets go of it. */
async function start(): Promise<Program> {
  const holder = createServer();
  await once(holder.listen(0, '127.0.0.1'), 'listening');
  port = (holder.address() as AddressInfo).port;
  const { fd } = (holder as any)._handle as { fd: number };
  const args = ['-c', TWO_SERVERS, 'sh', process.execPath, CLI, 'serve'];
  const program = new Program('sh', args, { PORT: '1' }, ['pipe', 'pipe', 'inherit', fd]);
  holder.close();
  return program;
}

async function terminate(running: Program, n: number): Promise<void> {
  process.kill((await running.line('process', n)).pid as number, 'SIGTERM');
}

/** A connection on which a request has been written. */
async function send(head: string): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  socket.write(head);
  return socket;
}

const get = (path: string) => send(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);

test('a connection made between two servers is served by the second', async () => {
  const running = await start();
  expect(await running.line('listening')).toMatchObject({ host: '127.0.0.1', port });
  await terminate(running, 1);
  await running.line('gone');
  const waiting = await get('/health');
  running.child.stdin!.write('\n');
  expect(await text(waiting)).toMatch(/^HTTP\/1\.1 200 /);
  await terminate(running, 2);
  await running.exited;
});

test('a connection that is made while a reply is being finished is served by the second server', async () => {
  const running = await start();
  await running.line('listening');
  const body = JSON.stringify({ prompt: 'Hello' });
  const head = `POST /chat HTTP/1.1\r\nHost: localhost\r\nX-API-Key: ${KEY}\r\nContent-Type: application/json\r\n`;
  const open = await send(
    `${head}Expect: 100-continue\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n`,
  );
  await once(open, 'readable');
  await terminate(running, 1);
  await running.line('stopping');
  const waiting = await get('/');
  open.write(body);
  expect(await text(open)).toMatch(/HTTP\/1\.1 200 OK/);
  await running.line('gone');
  // The first server has logged its last line: it has not seen the other request.
  expect(running.lines.filter(({ route }) => route === '/')).toEqual([]);
  running.child.stdin!.write('\n');
  expect(await text(waiting)).toMatch(/^HTTP\/1\.1 200 /);
  await terminate(running, 2);
  await running.exited;
});
