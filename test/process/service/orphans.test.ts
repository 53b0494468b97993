import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { FAKE } from '../../support/pool.js';
import { membersOf } from '../../harness/processes.js';
import { writeProgram } from '../support/programs.js';
import { folder, serve } from '../support/serve.js';
import { gguf } from '../../unit/doctor/gguf-bytes.js';

/** A real `serve` whose LLM_BIN_PATH is a script that runs the program without exec, as scripts of users do. */

test.each([
  ['where setpriv ends its first process alone', process.env.PATH],
  ['where there is no setpriv', '/nonexistent'],
])('a server that is killed leaves no process of the group, %s', async (_where, PATH) => {
  const model = join(folder, 'model.gguf');
  writeFileSync(model, gguf([]));
  // Ignores what a shell may get from its parent's end.
  const run = `trap '' HUP TERM\n'${process.execPath}' '${FAKE}' "$@"\nexit $?`;
  const help = `case "$1" in --help | --version) echo '--server-base'; exit ;; esac`;
  const wrapper = writeProgram(join(folder, 'llama'), `${help}\n${run}`);
  const env = { PATH, LLM_BIN_PATH: wrapper, LLM_MODEL_PATH: model, LLM_CONNECT_PROVIDER: undefined };
  const server = serve(env);
  const { pid } = await server.line('worker_ready');
  expect(membersOf(pid)).toHaveLength(2);
  await server.kill();
  while (membersOf(pid).length > 0) await new Promise(setImmediate);
});
