import { EventEmitter, on, once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { writeProgram } from '../support/programs.js';
import { folder, serve, type Program } from '../support/serve.js';

/** A real `serve`, and instead of systemd-notify a program that passes on its arguments and its environment. */

let inbox: Inbox;

interface Message {
  readonly fields: string[];
  readonly env: Record<string, string>;
}

/** Where the messages arrive: a socket, so that they can be waited for. */
class Inbox {
  readonly messages: Message[] = [];
  readonly #events = new EventEmitter();
  readonly server: Server = createServer((socket) => void this.#take(socket));

  async #take(socket: Socket): Promise<void> {
    this.messages.push(JSON.parse(await text(socket)) as Message);
    this.#events.emit('message');
  }

  /** The first message from `after` on with that field. */
  async next(field: string, after = 0): Promise<Message> {
    const found = () => this.messages.slice(after).find(({ fields }) => fields.includes(field));
    for (const arrivals = on(this.#events, 'message'); ; await arrivals.next()) {
      const message = found();
      if (message) return message;
    }
  }
}

/** What the program runs to speak to the inbox. */
const recorder = (path: string) => `
const socket = require('node:net').connect(${JSON.stringify(path)});
socket.end(JSON.stringify({ fields: process.argv.slice(2), env: process.env }));
`;

async function start(env: object): Promise<Program> {
  const server = serve({ PATH: `${folder}/bin:${process.env.PATH}`, ...env });
  await server.line('listening');
  return server;
}

beforeEach(async () => {
  inbox = new Inbox();
  const path = join(folder, 'inbox.sock');
  await once(inbox.server.listen(path), 'listening');
  const script = join(folder, 'recorder.cjs');
  writeFileSync(script, recorder(path));
  writeProgram(join(folder, 'bin/systemd-notify'), `exec '${process.execPath}' '${script}' "$@"`);
});
afterEach(() => inbox.server.close());

test('systemd is notified of readiness, signs of life, a reload and the end, in this order', async () => {
  const { child, exited } = await start({ NOTIFY_SOCKET: '/run/notify', WATCHDOG_USEC: '2000000' });
  const ready = await inbox.next('READY=1');
  expect(ready.fields).toContain('WATCHDOG=1');
  expect(ready.env).toMatchObject({ NOTIFY_SOCKET: '/run/notify' });
  expect(ready.env).not.toHaveProperty('API_KEY');
  const first = inbox.messages.length;
  await inbox.next('WATCHDOG=1', first);
  child.kill('SIGHUP');
  await inbox.next('RELOADING=1', first);
  await inbox.next('READY=1', first);
  child.kill('SIGTERM');
  expect(await exited).toEqual([0, null]);
  await inbox.next('STOPPING=1');
  const order = inbox.messages.map(({ fields }) => fields[0]).filter((field) => field !== 'WATCHDOG=1');
  expect(order).toEqual(['READY=1', 'RELOADING=1', 'READY=1', 'STOPPING=1']);
});

test('a systemd-notify that fails is logged, and the server keeps serving', async () => {
  writeProgram(join(folder, 'bin/systemd-notify'), 'exit 1');
  const running = await start({ NOTIFY_SOCKET: '/run/notify' });
  expect(await running.line('notify_failed')).toMatchObject({ level: 40 });
  running.child.kill('SIGTERM');
  expect(await running.exited).toEqual([0, null]);
});

test('without systemd nothing is run', async () => {
  const { child, exited } = await start({ WATCHDOG_USEC: '1000' });
  child.kill('SIGTERM');
  expect(await exited).toEqual([0, null]);
  expect(inbox.messages).toEqual([]);
});
