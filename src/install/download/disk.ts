/** Room on the disk, asked before it is needed: a full disk in the middle of 40 GB helps nobody. */
import { statfs } from 'node:fs/promises';
import { formatBytes } from '../progress.js';
import { DownloadError } from './errors.js';

/** Left over for everything else on the disk. */
const RESERVE_BYTES = 100_000_000;

/** Bytes a user may still write below a folder. */
export async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

/** @throws DownloadError `disk_full` naming the folder, what is needed and what is there */
export async function requireSpace(folder: string, needed: number): Promise<void> {
  const free = await freeBytes(folder);
  if (free >= needed + RESERVE_BYTES) return;
  throw new DownloadError(
    'disk_full',
    `Not enough room in ${folder}: ${formatBytes(needed)} more are needed and ${formatBytes(free)} are free`,
  );
}
