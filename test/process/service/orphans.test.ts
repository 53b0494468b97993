import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FAKE } from '../../support/pool.js';
import { gguf } from '../../unit/doctor/gguf-bytes.js';
import { membersOf } from '../../support/processes.js';
import { writeProgram } from '../install/support/temp.js';
import { build, CLI, Program, settings } from './serve.js';

/** A real `serve` whose LLM_BIN_PATH is a script that runs the program without exec, as scripts of users do. */

let folder: string;
let server: Program | undefined;

beforeAll(() => build(), 300_000);
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'lmserv-orphans-'))));
afterEach(async () => {
  server?.child.kill('SIGKILL');
  await server?.exited;
  rmSync(folder, { recursive: true, force: true });
});

test.each([
  ['where setpriv ends its first process alone', process.env.PATH],
  ['where there is no setpriv', '/nonexistent'],
])('killed, it leaves no process of the group, %s', async (_where, PATH) => {
  const model = join(folder, 'model.gguf');
  writeFileSync(model, gguf([]));
  const wrapper = join(folder, 'llama');
  // Ignores what a shell may get from its parent's end.
  const run = `trap '' HUP TERM\n'${process.execPath}' '${FAKE}' "$@"\nexit $?`;
  await writeProgram(wrapper, `[ "$1" = --help ] && echo '--server-base' && exit\n${run}`);
  const { LLM_CONNECT_PROVIDER: _, ...common } = settings(folder);
  const env = { ...common, PATH, LLM_BIN_PATH: wrapper, LLM_MODEL_PATH: model };
  server = new Program(process.execPath, [CLI, 'serve'], {
    env,
    cwd: folder,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const { pid } = await server.line('worker_ready');
  expect(membersOf(pid as number)).toHaveLength(2);
  server.child.kill('SIGKILL');
  await server.exited;
  while (membersOf(pid as number).length > 0) await new Promise(setImmediate);
});
