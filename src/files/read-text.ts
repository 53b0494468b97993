/** Reads whole text files that others may write, move, or replace with something that is not a file. */

import { closeSync, constants, fstatSync, openSync, readFileSync, type Stats } from 'node:fs';
import { open } from 'node:fs/promises';

/** More than any key, configuration, profile or .env file needs. */
export const MAX_FILE_BYTES = 8 * 2 ** 20;

/** Without O_NONBLOCK, opening a named pipe would wait for its writer. */
const FLAGS = constants.O_RDONLY | constants.O_NONBLOCK;

export interface TextFile {
  readonly text: string;
  /** Permission bits. */
  readonly mode: number;
}

/** The file was opened but not read. `code` says why, like the `code` of the system's errors. */
class UnreadableError extends Error {
  override readonly name = 'UnreadableError';
  constructor(readonly code: string) {
    super(code);
  }
}

/** @throws UnreadableError for anything but a regular file of at most 8 MiB; the system's errors. */
export async function readText(path: string): Promise<TextFile> {
  const handle = await open(path, FLAGS);
  try {
    const mode = checkFile(await handle.stat());
    return { text: await handle.readFile('utf8'), mode };
  } finally {
    await handle.close();
  }
}

/** Like `readText`, for the start of a program. */
export function readTextSync(path: string): TextFile {
  const descriptor = openSync(path, FLAGS);
  try {
    const mode = checkFile(fstatSync(descriptor));
    return { text: readFileSync(descriptor, 'utf8'), mode };
  } finally {
    closeSync(descriptor);
  }
}

/** Returns the permission bits. @throws UnreadableError. */
function checkFile(stats: Stats): number {
  if (!stats.isFile()) throw new UnreadableError('not a regular file');
  if (stats.size > MAX_FILE_BYTES) throw new UnreadableError(`larger than ${MAX_FILE_BYTES / 2 ** 20} MiB`);
  return stats.mode & 0o777;
}
