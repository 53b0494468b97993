import { EventEmitter, on } from 'node:events';
import { existsSync, mkdirSync, readdirSync, renameSync, rmdirSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { jest } from '@jest/globals';
import { LlamaChild } from '../../../workers/child.js';
import type { ChildOptions } from '../../../workers/options.js';
import { fakeTimeouts } from '../../support/clock.js';
import { emptyFolder } from '../../support/folder.js';
import { isAlive } from '../../support/pool.js';
import { childrenOf, descriptorsOf } from '../../harness/processes.js';
import { writeProgram } from '../support/programs.js';

/** The process of a worker alone, with shell scripts instead of llama.cpp. */

const home = process.cwd();
const folder = emptyFolder();
const KILLED = { code: null, signal: 'SIGKILL' };
/** Says that it runs; its stdin stays open, so it waits until it is killed. */
const WAITS = 'echo up >&2; read -r _';

let events: EventEmitter;
let started: LlamaChild[];

beforeEach(() => {
  events = new EventEmitter();
  started = [];
});

afterEach(async () => {
  jest.restoreAllMocks();
  process.chdir(home);
  for (const child of started) child.kill('SIGKILL');
  await Promise.all(started.map((child) => child.exited));
});

const script = (text: string): string => writeProgram(join(folder, 'program'), text);

function start(
  path: string,
  kind: ChildOptions['binary']['kind'] = 'llama-cli',
  onLine = (text: string): void => void events.emit('line', text),
  { extraArgs = [], TMPDIR = tmpdir() }: { extraArgs?: string[]; TMPDIR?: string } = {},
): LlamaChild {
  const options: ChildOptions = {
    binary: { path, kind },
    modelPath: '/models/fake.gguf',
    slots: 1,
    ctxSize: 1024,
    cacheRamMb: 0,
    extraArgs,
  };
  const child = new LlamaChild(options, { ...process.env, TMPDIR }, onLine);
  started.push(child);
  return child;
}

/** The next line of stderr that begins so. */
async function line(beginning: string): Promise<string> {
  for await (const [text] of on(events, 'line') as AsyncIterable<[string]>)
    if (text.startsWith(beginning)) return text;
  throw new Error('no lines any more');
}

test('1,000 workers that are spawned and killed leave no zombie and at most 5 descriptors', async () => {
  const path = script(WAITS);
  const cycle = async () => {
    const child = await new Promise<LlamaChild>((up) => {
      const spawned: LlamaChild = start(path, 'llama-cli', () => up(spawned));
    });
    child.kill('SIGKILL');
    expect(await child.exited).toEqual(KILLED);
  };
  const side = async (cycles: number) => {
    for (let i = 0; i < cycles; i += 1) await cycle();
  };
  await cycle();
  const before = descriptorsOf(process.pid);
  await Promise.all(Array.from({ length: 10 }, () => side(100)));
  // The guards are killed with their children, and reaped a moment later; so are the ends of their pipes.
  while (childrenOf(process.pid).length > 0) await new Promise(setImmediate);
  while (descriptorsOf(process.pid) > before + 5) await new Promise(setImmediate);
}, 180_000);

test('a worker that ignores SIGTERM gets SIGKILL after 5 s, with all its group', async () => {
  fakeTimeouts();
  const loop = 'trap "echo ignored >&2" TERM; while :; do wait; done';
  const child = start(script(`sh -c 'trap "" TERM; echo "grandchild $$" >&2; exec sleep 1000' & ${loop}`));
  const grandchild = Number((await line('grandchild')).split(' ')[1]);
  const stopped = child.stop();
  await line('ignored');
  jest.advanceTimersByTime(4_999);
  expect([child.pid!, grandchild].map(isAlive)).toEqual([true, true]);
  jest.advanceTimersByTime(1);
  expect(await stopped).toEqual(KILLED);
  while (isAlive(grandchild)) await new Promise(setImmediate);
});

test.each([
  ['of lines', 'yes 0123456789abcdef'],
  ['that is one line without an end', 'yes 0123456789abcdef | tr -d "\\n"'],
])('a flood %s is drained, and the last 64 KiB are kept', async (_name, flood) => {
  const child = start(script(`${flood} | head -c 5000000 >&2; printf "\\nthe end\\n" >&2; read -r _`));
  await line('the end');
  const kept = child.stderr.since(0, Infinity);
  expect(kept.length).toBeGreaterThanOrEqual(64 * 1024);
  expect(kept.length).toBeLessThanOrEqual(128 * 1024);
  expect(child.stderr.lastLines(1)).toEqual(['the end']);
  expect(isAlive(child.pid!)).toBe(true);
});

test('each llama-server gets its own socket folder, 0700, which is removed at its exit', async () => {
  // Like one that was killed it leaves its socket behind.
  const path = script('while [ "$1" != --host ]; do shift; done; : > "$2"; echo up >&2; read -r _');
  const folders: string[] = [];
  for (let i = 0; i < 2; i += 1) {
    const child = start(path, 'llama-server');
    await line('up');
    const { socketPath } = child.listen as { socketPath: string };
    expect(existsSync(socketPath)).toBe(true);
    expect(statSync(dirname(socketPath)).mode & 0o777).toBe(0o700);
    child.kill('SIGKILL');
    await child.exited;
    expect(existsSync(dirname(socketPath))).toBe(false);
    folders.push(dirname(socketPath));
  }
  expect(folders[0]).not.toBe(folders[1]);
});

test.each([
  ['a temporary folder that is gone', 'no temporary folder (ENOENT)', 'llama-server', []],
  ['arguments that are too long', 'E2BIG', 'llama-cli', ['x'.repeat(200_000)]],
  ['an argument with a NUL', 'TypeError', 'llama-cli', ['\0']],
] as const)('%s: its exit says so, and nothing is thrown', async (_what, spawnError, kind, extraArgs) => {
  const path = script('read -r _');
  const child = start(path, kind, undefined, { extraArgs: [...extraArgs], TMPDIR: join(folder, 'gone') });
  expect(await child.exited).toEqual({ code: null, signal: null, spawnError });
  expect(child.pid).toBeUndefined();
});

test('a worker starts although the working folder is gone', async () => {
  const path = script(WAITS);
  const gone = join(folder, 'gone');
  mkdirSync(gone);
  process.chdir(gone);
  rmdirSync(gone);
  const child = start(path);
  await line('up');
  child.kill('SIGKILL');
  expect(await child.exited).toEqual(KILLED);
});

test('a socket folder that cannot be removed is left, and the exit is reported', async () => {
  const path = script(WAITS);
  const TMPDIR = join(folder, 'tmp');
  mkdirSync(TMPDIR);
  const child = start(path, 'llama-server', undefined, { TMPDIR });
  await line('up');
  expect(readdirSync(TMPDIR)).toHaveLength(1);
  renameSync(TMPDIR, join(folder, 'moved'));
  writeFileSync(TMPDIR, 'a file where the folder was');
  child.kill('SIGKILL');
  expect(await child.exited).toEqual(KILLED);
  expect(readdirSync(join(folder, 'moved'))).toHaveLength(1);
});

test('a script that is killed alone takes its own processes with it', async () => {
  const child = start(script('sleep 1000 & echo "grandchild $!" >&2; wait'));
  const grandchild = Number((await line('grandchild')).split(' ')[1]);
  process.kill(child.pid!, 'SIGKILL');
  expect(await child.exited).toEqual(KILLED);
  while (isAlive(grandchild)) await new Promise(setImmediate);
});

test('a worker that cannot be killed is given up after 10 s', async () => {
  const child = start(script(WAITS));
  await line('up');
  fakeTimeouts();
  const refuse = () => {
    throw Object.assign(new Error('not permitted'), { code: 'EPERM' });
  };
  jest.spyOn(process, 'kill').mockImplementation(refuse);
  child.kill('SIGTERM');
  child.kill('SIGKILL');
  let given: unknown;
  void child.exited.then((cause) => (given = cause));
  jest.advanceTimersByTime(9_999);
  await new Promise(setImmediate);
  expect(given).toBeUndefined();
  jest.advanceTimersByTime(1);
  expect(await child.exited).toEqual({ code: null, signal: null, survived: true });
  jest.restoreAllMocks();
  process.kill(child.pid!, 'SIGKILL');
});
