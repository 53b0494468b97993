import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** How the kernel, or a guard of ours, ends a child when this process is gone. */

const DEATH_SIGNAL = ['--pdeathsig', 'KILL', '--'];

/** Waits for the end of its stdin, which is our end, and kills a process group. */
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
    .find((file) => existsSync(file) && spawnSync(file, [...DEATH_SIGNAL, 'true'], { env }).status === 0);
}

/** The command that runs a program under setpriv. */
export function withDeathSignal(setpriv: string, file: string, args: readonly string[]): [string, string[]] {
  return [setpriv, [...DEATH_SIGNAL, file, ...args]];
}

/**
 * Where there is no setpriv: starts a shell that kills the process group when we are gone, however that happens.
 * Returns what ends the guard; call it once the group is gone.
 */
export function guardGroup(pid: number): () => void {
  const guard = spawn('/bin/sh', ['-c', GUARD, 'lmserv-guard', String(pid)], {
    // A group of its own: Ctrl-C in a terminal is for us, and the guard has to outlive us.
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
    env: {},
  });
  guard.on('error', () => undefined);
  guard.stdin.on('error', () => undefined);
  return () => void guard.kill('SIGKILL');
}
