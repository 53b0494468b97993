import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { CLI, folder, settings } from '../support/serve.js';

/** A server in a terminal, which `script` makes: when that program ends, the terminal is closed. */

let terminal: ChildProcess;
let reader: ChildProcess;

afterEach(() => {
  terminal.kill('SIGKILL');
  reader.kill('SIGKILL');
});

/** A shell that outlives its terminal and tells how the server ended. */
const KEEPER = `trap '' HUP; sh -c 'echo pid=$$; exec "$NODE" "$CLI" serve'; echo $? > "$FIFO"`;
const FOREGROUND = `(${KEEPER}); :`;
/** A closed terminal sends no signal to the group of a background job. */
const BACKGROUND = `set -m; (${KEEPER}) & wait`;

async function start(command: string): Promise<{ exitCode: Promise<string>; pid: number }> {
  const FIFO = join(folder, 'fifo');
  execFileSync('mkfifo', [FIFO]);
  reader = spawn('cat', [FIFO], { stdio: ['ignore', 'pipe', 'inherit'] });
  const exitCode = once(reader.stdout!, 'data').then(String);
  const env = { ...settings(), FIFO, CLI, NODE: process.execPath, SHELL: '/bin/sh' };
  terminal = spawn('script', ['-qec', command, '/dev/null'], {
    cwd: folder,
    env,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let shown = '';
  while (!shown.includes('LMServ is ready')) shown += String(await once(terminal.stdout!, 'data'));
  return { exitCode, pid: Number(/pid=(\d+)/.exec(shown)?.[1]) };
}

test('ends in good order when its terminal is closed', async () => {
  const { exitCode } = await start(FOREGROUND);
  terminal.kill('SIGKILL');
  expect(await exitCode).toBe('0\n');
});

test.each([
  ['open', async () => undefined],
  [
    'closed',
    async () => {
      terminal.kill('SIGKILL');
      await once(terminal, 'exit');
    },
  ],
])('ends in good order by a signal when its terminal is %s', async (_state, prepare) => {
  const { exitCode, pid } = await start(BACKGROUND);
  await prepare();
  process.kill(pid, 'SIGTERM');
  expect(await exitCode).toBe('0\n');
});
