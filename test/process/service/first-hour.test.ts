import { execFile } from 'node:child_process';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../../../src/config/root.js';
import { CLI, folder, Program, settings } from '../support/serve.js';

/** What goes wrong on other people's machines before the first reply. */

// Other accounts run here too.
beforeEach(() => chmodSync(folder, 0o777));

interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs a program to its end in the test's folder, with no other environment. */
function run(program: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(program, args, { cwd: folder, env: { PATH: process.env.PATH, ...env } }, (error, out, err) =>
      resolve({ code: error === null ? 0 : Number(error.code), out, err }),
    );
  });
}

const lmserv = (command: string[], env: NodeJS.ProcessEnv = {}) =>
  run(process.execPath, [CLI, ...command], env);

test.each([
  ['PORT and HOST', (port: number) => `PORT=${port}\nHOST=127.0.0.1\n`],
  ['the names of llm-connect', (port: number) => `LLM_CONNECT_PORT=${port}\nLLM_CONNECT_HOST=127.0.0.1\n`],
])('ask finds the server by the .env that the server reads: %s', async (_names, lines) => {
  writeFileSync(join(folder, '.env'), 'API_KEY="own#key"\nLLM_CONNECT_PROVIDER=mock\nDATA_DIR=d\n');
  const env = Object.fromEntries(Object.keys(settings()).map((name) => [name, undefined]));
  const command = [CLI, 'serve', '--port', '0', '--host', '127.0.0.1'];
  const server = new Program(process.execPath, command, { ...env, PATH: process.env.PATH });
  const { port } = await server.line('listening');
  writeFileSync(join(folder, '.env'), `API_KEY="own#key"\n${lines(port as number)}`);
  expect(await lmserv(['ask', 'hello'])).toMatchObject({
    code: 0,
    out: expect.stringContaining('mock'),
    err: '',
  });
});

const refusedByOneLine = (message: string | RegExp) => ({
  code: 1,
  out: expect.not.stringContaining('"level":60'),
  err: expect.stringMatching(message),
});

test('HOST as conda sets it is refused in a line that names HOST', async () => {
  const HOST = 'x86_64-conda-linux-gnu.invalid';
  const { err, ...ended } = await lmserv(['serve'], { ...settings(), HOST });
  expect(err).toMatch(
    /^lmserv: HOST: there is no address x86_64-conda-linux-gnu\.invalid \(\w+\); .*conda.*\n$/,
  );
  expect(ended.code).toBe(1);
});

describe('a model that llama.cpp cannot load is refused at the start, in one line', () => {
  const LFS = 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n';
  test.each([
    ['a folder', (path: string) => mkdirSync(path), 'is not a regular file'],
    ['a Git LFS pointer', (path: string) => writeFileSync(path, LFS), 'is not a GGUF file'],
  ])('%s', async (_what, make, message) => {
    const path = join(folder, 'm.gguf');
    make(path);
    const llama = join(folder, 'llama-cli');
    writeFileSync(llama, '#!/bin/sh\n[ "$1" = --help ] && echo --server-base\n', { mode: 0o755 });
    const { LLM_CONNECT_PROVIDER: _, ...env } = settings();
    const ended = await lmserv(['serve'], { ...env, LLM_MODEL_PATH: path, LLM_BIN_PATH: llama });
    expect(ended).toMatchObject(
      refusedByOneLine(new RegExp(`^lmserv: The model m: ${path} ${message}.*npm run model\\n$`)),
    );
  });
});

describe('an account without a home folder learns of LMSERV_CACHE_DIR', () => {
  const NOBODY = ['--reuid', '54321', '--regid', '54321', '--clear-groups', '--'];
  const asNobody = process.getuid?.() === 0 ? NOBODY : [];
  const setUp = (env: NodeJS.ProcessEnv) =>
    run('setpriv', [...asNobody, process.execPath, CLI, 'setup', '--gpu', 'cpu'], env);

  test.each([
    ['without a name', { HOME: '' }, /no home folder/],
    ['with / as its home', { HOME: '/' }, /The cache \/\.cache\/lmserv cannot be written \(E\w+\)/],
    ['with a home that is no folder', { HOME: '/dev/null' }, /cannot be written \(ENOTDIR\)/],
  ])('%s', async (_account, env, message) => {
    const { code, err } = await setUp(env);
    expect(err).toMatch(message);
    expect(err).toMatch(/^lmserv: [^\n]*LMSERV_CACHE_DIR[^\n]*\n$/);
    expect(code).toBe(1);
  });

  test('also by the bootstrap, before anything is compiled', async () => {
    const copy = join(folder, 'checkout');
    await run('mkdir', ['-p', copy], {});
    await run(
      'cp',
      ['-r', 'scripts', 'src', 'package.json', 'package-lock.json', copy].map((part) =>
        part.startsWith('/') || part.startsWith('-') ? part : join(ROOT, part),
      ),
      {},
    );
    const args = [...asNobody, process.execPath, join(copy, 'scripts/bootstrap.mjs'), 'build'];
    const { code, err } = await run('setpriv', args, { HOME: '/' });
    expect(err).toMatch(
      /^The cache \/\.cache\/lmserv cannot be written \(E\w+\): set LMSERV_CACHE_DIR[^\n]*\n$/,
    );
    expect(code).toBe(1);
  });
});
