import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** How the kernel and a guard of ours end a child when this process is gone. */

const DEATH_SIGNAL = ['--pdeathsig', 'KILL', '--'];

/** Waits for the end of its stdin, which is our end, and kills a process group. */
const SHELL = '/bin/sh';
const GUARD = 'while read -r _; do :; done; kill -s KILL -- "-$1"';

/** What has been found out, by search path: it costs some milliseconds and does not change. */
const known = new Map<string, string | undefined>();

/**
 * Finds util-linux's setpriv, which has the kernel send a signal to a program when its parent is gone. Busybox has one
 * that cannot.
 */
export function findSetpriv(searchPath = ''): string | undefined {
  if (!known.has(searchPath)) known.set(searchPath, searchSetpriv(searchPath));
  return known.get(searchPath);
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

/** The command that runs a program under setpriv. */
export function withDeathSignal(setpriv: string, file: string, args: readonly string[]): [string, string[]] {
  return [setpriv, [...DEATH_SIGNAL, file, ...args]];
}

/**
 * Starts a shell that kills the process group when we are gone, however that happens. setpriv alone would end only the
 * group's first process, which may be a script that runs the program. Does nothing where there is no shell. Returns
 * what ends the guard; call it once the group is gone.
 *
 * @throws the system's error when it cannot be started.
 */
export function guardGroup(pid: number): () => void {
  if (!existsSync(SHELL)) return () => undefined;
  const guard = spawn(SHELL, ['-c', GUARD, 'lmserv-guard', String(pid)], {
    // A group of its own: Ctrl-C in a terminal is for us, and the guard has to outlive us.
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
    cwd: '/',
    env: {},
  });
  guard.on('error', () => undefined);
  // Where there are too few descriptors or processes it has neither.
  guard.stdin?.on('error', () => undefined);
  if (guard.pid === undefined) throw Object.assign(new Error('no process for a guard'), { code: 'EAGAIN' });
  return () => void guard.kill('SIGKILL');
}
