/** The unfinished file `X.part` and the note `X.part.json` beside it, which identifies the file. */
import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, rm, stat, writeFile } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';

/** The server's description of the file when the part was begun; the validator is an ETag or a date. */
export interface PartNote {
  url: string;
  validator?: string | undefined;
}

export const partPath = (file: string): string => `${file}.part`;

/** Size of the part in bytes; 0 if there is none. */
export async function partSize(file: string): Promise<number> {
  return stat(partPath(file)).then(
    ({ size }) => size,
    () => 0,
  );
}

/** The note of an earlier run; undefined if missing or unreadable. */
export async function readNote(file: string): Promise<PartNote | undefined> {
  try {
    const note = JSON.parse(await readFile(notePath(file), 'utf8')) as Partial<PartNote>;
    return typeof note.url === 'string' ? { url: note.url, validator: note.validator } : undefined;
  } catch {
    return undefined;
  }
}

const notePath = (file: string): string => `${file}.part.json`;

export async function writeNote(file: string, note: PartNote): Promise<void> {
  await writeFile(notePath(file), JSON.stringify(note));
}

export async function discardPart(file: string): Promise<void> {
  await Promise.all([rm(partPath(file), { force: true }), rm(notePath(file), { force: true })]);
}

/** Removes the note after its part has become the file. */
export async function discardNote(file: string): Promise<void> {
  await rm(notePath(file), { force: true });
}

/**
 * Hashes the bytes of a file.
 * @param onRead called with the number of bytes read so far
 * @throws the file system's errors, and the signal's reason when it aborts
 */
export async function hashFile(
  path: string,
  algorithm: string,
  signal?: AbortSignal,
  onRead?: (bytes: number) => void,
): Promise<Hash> {
  const hash = createHash(algorithm);
  const file = createReadStream(path);
  if (onRead) file.on('data', () => onRead(file.bytesRead));
  await pipeline(file, hash, { end: false, ...(signal ? { signal } : {}) });
  return hash;
}
