import { chmodSync } from 'node:fs';
import path from 'node:path';
import { resolveBinary } from '../../../workers/binary.js';
import { emptyFolder } from '../../support/folder.js';
import { LLAMA_CLI, LLAMA_SERVER, OLD_LLAMA_CLI, writeProgram } from '../support/programs.js';

const folder = emptyFolder();
const root = path.join(folder, 'checkout');
const bin = path.join(folder, 'bin');

const build = (name: string) => path.join(root, 'vendor/llama.cpp', name, 'bin/llama-cli');
const resolve = (configured?: string) => resolveBinary({ root, configured, searchPath: bin });

test('a llama-cli that hosts the server is told from a llama-server, each with its version', async () => {
  const cli = writeProgram(path.join(bin, 'llama-cli'), LLAMA_CLI);
  const server = writeProgram(path.join(bin, 'renamed'), LLAMA_SERVER);
  await expect(resolve()).resolves.toEqual({ path: cli, kind: 'llama-cli', version: '0.5.0-dev' });
  await expect(resolve(server)).resolves.toEqual({
    path: server,
    kind: 'llama-server',
    version: '0.5.0-dev',
  });
});

test('builds come before the search path, the fastest flavour first', async () => {
  writeProgram(path.join(bin, 'llama-cli'), LLAMA_CLI);
  for (const name of ['build', 'build-metal', 'build-vulkan', 'build-cuda']) {
    const file = writeProgram(build(name), LLAMA_CLI);
    await expect(resolve()).resolves.toMatchObject({ path: file });
  }
});

test('an unusable build is passed over', async () => {
  writeProgram(
    build('build-cuda'),
    'echo "error while loading shared libraries: libcuda.so.1" >&2; exit 127',
  );
  const usable = writeProgram(build('build'), LLAMA_CLI);
  await expect(resolve()).resolves.toMatchObject({ path: usable });
});

test('a configured binary may be relative to the checkout or a name on the search path', async () => {
  const own = writeProgram(path.join(root, 'my/llama-server'), LLAMA_SERVER);
  const named = writeProgram(path.join(bin, 'llama-server'), LLAMA_SERVER);
  await expect(resolve('my/llama-server')).resolves.toMatchObject({ path: own });
  await expect(resolve('llama-server')).resolves.toMatchObject({ path: named });
});

test('one line says what to run when there is no binary', async () => {
  await expect(resolve()).rejects.toMatchObject({
    code: 'missing',
    message: 'There is no llama-cli yet: run `npm run setup` to build one, or set LLM_BIN_PATH',
  });
});

test('a configured binary that is not there is an error even when others are', async () => {
  writeProgram(build('build'), LLAMA_CLI);
  await expect(resolve('/nowhere/llama-cli')).rejects.toMatchObject({ code: 'missing' });
});

test('a file that is not executable is refused', async () => {
  const file = writeProgram(path.join(bin, 'llama-cli'), LLAMA_CLI);
  chmodSync(file, 0o644);
  await expect(resolve(file)).rejects.toMatchObject({ code: 'not_executable' });
});

test('an old llama-cli is refused, and the message suggests llama-server', async () => {
  writeProgram(path.join(bin, 'llama-cli'), OLD_LLAMA_CLI);
  await expect(resolve()).rejects.toMatchObject({ code: 'too_old' });
  await expect(resolve()).rejects.toThrow(/^[^\n]*llama-server$/);
});

test('a binary that cannot run says why in one line', async () => {
  writeProgram(path.join(bin, 'llama-cli'), 'echo "cannot open libcuda.so.1" >&2; echo more >&2; exit 127');
  await expect(resolve()).rejects.toMatchObject({ code: 'broken' });
  await expect(resolve()).rejects.toThrow(/^[^\n]*cannot open libcuda\.so\.1[^\n]*npm run setup[^\n]*$/);
});

test('the library path reaches the binary, LLAMA_ARG_ variables do not', async () => {
  const check = '[ -z "$LLAMA_ARG_PORT" ] && [ "$LD_LIBRARY_PATH" = /libs ] || exit 9';
  writeProgram(path.join(bin, 'llama-cli'), `${check}\n${LLAMA_CLI}`);
  const env = { LLAMA_ARG_PORT: '1', LD_LIBRARY_PATH: '/libs' };
  await expect(resolveBinary({ root, searchPath: bin, env })).resolves.toMatchObject({ kind: 'llama-cli' });
});
