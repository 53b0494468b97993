import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Ends a child when this process has ended, through the kernel and through a guard process. */

const DEATH_SIGNAL = ['--pdeathsig', 'KILL', '--'];

/** Waits for EOF on its stdin, which means that this process has ended, and kills a process group. */
const SHELL = '/bin/sh';
const GUARD = 'while read -r _; do :; done; kill -s KILL -- "-$1"';

/** Results by search path; a search takes milliseconds and its result does not change. */
const cache = new Map<string, string | undefined>();

/**
 * Finds util-linux's setpriv, which makes the kernel send a signal to a program when its parent ends. Busybox's setpriv
 * cannot do that.
 */
export function findSetpriv(searchPath = ''): string | undefined {
  if (!cache.has(searchPath)) cache.set(searchPath, searchSetpriv(searchPath));
  return cache.get(searchPath);
}

function searchSetpriv(searchPath: string): string | undefined {
  const env = { PATH: searchPath };
  return searchPath
    .split(delimiter)
    .map((folder) => join(folder, 'setpriv'))
    .find(
      (file) =>
        existsSync(file) && spawnSync(file, [...DEATH_SIGNAL, 'true'], { env, timeout: 5_000 }).status === 0,
    );
}

/** Builds the command that runs a program under setpriv. */
export function withDeathSignal(setpriv: string, file: string, args: readonly string[]): [string, string[]] {
  return [setpriv, [...DEATH_SIGNAL, file, ...args]];
}

/**
 * Starts a shell that kills the process group when this process ends, however that happens. setpriv alone would end only
 * the group's first process, which may be a script that runs the program. Does nothing without a shell. Returns a
 * function that ends the guard; call it once the group has ended.
 *
 * @throws the system's error when the guard cannot be started.
 */
export function guardGroup(pid: number): () => void {
  if (!existsSync(SHELL)) return () => undefined;
  const guard = spawn(SHELL, ['-c', GUARD, 'lmserv-guard', String(pid)], {
    // In its own group, so that Ctrl-C in a terminal does not end the guard before this process.
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
    cwd: '/',
    env: {},
  });
  guard.on('error', () => undefined);
  // stdin and pid are undefined when there are too few descriptors or processes.
  guard.stdin?.on('error', () => undefined);
  if (guard.pid === undefined) throw Object.assign(new Error('no process for a guard'), { code: 'EAGAIN' });
  return () => void guard.kill('SIGKILL');
}
