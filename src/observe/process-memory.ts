import { readFileSync } from 'node:fs';

/** Memory of a process, bytes. */
export interface ProcessMemory {
  /** Its own: anonymous pages, including swapped ones. This grows when a process leaks. */
  readonly anonymous: number;
  /** Pages of files and shared memory, such as a mapped model; processes that map the same file share them. */
  readonly mapped: number;
}

/** Reads /proc, which never waits for a disk; undefined if there is none or the process has gone. */
export function readMemory(pid: number): ProcessMemory | undefined {
  const status = readStatus(pid);
  // A zombie has a status, but no memory.
  if (!status.includes('\nRssAnon:')) return undefined;
  const bytes = (field: string) =>
    Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1] ?? 0) * 1024;
  return {
    anonymous: bytes('RssAnon') + bytes('VmSwap'),
    mapped: bytes('RssFile') + bytes('RssShmem'),
  };
}

function readStatus(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/status`, 'utf8');
  } catch {
    return '';
  }
}
