/** Queries to the file system. */
import { access, statfs } from 'node:fs/promises';
import { DownloadError } from './download/request.js';
import { formatBytes } from './progress.js';

/** Bytes to leave free for everything else on the disk. */
const RESERVE_BYTES = 100_000_000;

/** Whether a path exists, following links. */
export function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}

/** Bytes that a user may still write below a folder. */
export async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

/** @throws DownloadError `disk_full` naming the folder, the needed and the free space */
export async function requireSpace(folder: string, needed: number): Promise<void> {
  const free = await freeBytes(folder);
  if (free >= needed + RESERVE_BYTES) return;
  throw new DownloadError(
    'disk_full',
    `Not enough disk space in ${folder}: ${formatBytes(needed)} more are needed, but only ${formatBytes(free)} are free`,
  );
}
