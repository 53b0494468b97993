import { readFileSync } from 'node:fs';

/**
 * Memory that a process has to itself, bytes: anonymous pages, in memory and swapped out. A model's weights are mapped
 * from its file and shared, so they do not count. undefined where there is no /proc or the process is gone.
 */
export function privateMemory(pid: number): number | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const kib = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1] ?? 0);
    return (kib('RssAnon') + kib('VmSwap')) * 1024;
  } catch {
    return undefined;
  }
}
