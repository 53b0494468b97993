/** Replacing a text file that others read, whole or not at all. */
import { randomUUID } from 'node:crypto';
import * as fs from 'node:fs';
import path from 'node:path';

/**
 * Replaces `file` in one step: a reader sees the old text or the new one, also after a power cut. A regular file keeps
 * its owner and mode; a link is replaced by a file (see `resolveLink`).
 *
 * @param mode of a new file
 * @throws the system's errors; the old file is then as it was.
 */
export function writeAtomically(file: string, text: string, mode = 0o600): void {
  const folder = path.dirname(file);
  const temporary = path.join(folder, `.${randomUUID()}.tmp`);
  try {
    writeDurably(temporary, text, { file, mode });
    fs.renameSync(temporary, file);
    syncFolder(folder);
  } catch (error) {
    removeIfPossible(temporary);
    throw error;
  }
}

function writeDurably(temporary: string, text: string, { file, mode }: { file: string; mode: number }): void {
  const descriptor = fs.openSync(temporary, 'wx', mode);
  try {
    keepAccess(descriptor, file);
    fs.writeFileSync(descriptor, text);
    fs.fsyncSync(descriptor);
  } finally {
    fs.closeSync(descriptor);
  }
}

/** Leaves the file to the accounts that may read it, the server's among them, also when root replaces it. */
function keepAccess(descriptor: number, file: string): void {
  const previous = fs.lstatSync(file, { throwIfNoEntry: false });
  if (!previous?.isFile()) return;
  const { uid, gid } = fs.fstatSync(descriptor);
  if (previous.uid !== uid || previous.gid !== gid) fs.fchownSync(descriptor, previous.uid, previous.gid);
  fs.fchmodSync(descriptor, previous.mode & 0o777);
}

function syncFolder(folder: string): void {
  const descriptor = fs.openSync(folder, 'r');
  try {
    fs.fsyncSync(descriptor);
  } finally {
    fs.closeSync(descriptor);
  }
}

/** On a broken disk this fails too, and the first error says more. */
function removeIfPossible(file: string): void {
  try {
    fs.rmSync(file, { force: true });
  } catch {
    // The file is empty or half-written, and nothing reads it.
  }
}

/** The file that a link leads to, also when it leads to nothing yet; any other path unchanged. */
export function resolveLink(file: string): string {
  try {
    return fs.realpathSync(file);
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    if (!missing || !fs.lstatSync(file, { throwIfNoEntry: false })) return file;
    return resolveLink(path.resolve(fs.realpathSync(path.dirname(file)), fs.readlinkSync(file)));
  }
}
