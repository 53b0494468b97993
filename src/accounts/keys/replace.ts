/** Replaces a file atomically while others read it, with one writer at a time. */

import { randomUUID } from 'node:crypto';
import * as fs from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { KeyFileError } from './file.js';

const LOCK_RETRY_MS = 20;
const LOCK_TRIES = 250;

/**
 * Runs `change` while no other process changes `file`; waits up to five seconds for another process.
 *
 * @param tries number of further attempts to take the lock, 20 ms apart.
 * @throws KeyFileError; the error of `change`.
 */
export async function withLock<Result>(
  file: string,
  change: () => Result,
  tries = LOCK_TRIES,
): Promise<Result> {
  const lock = `${realFile(file)}.lock`;
  try {
    fs.mkdirSync(dirname(lock), { recursive: true, mode: 0o700 });
    await takeLock(lock, tries);
  } catch (error) {
    throw writeError(file, error);
  }
  try {
    return change();
  } finally {
    fs.rmSync(lock, { force: true });
  }
}

async function takeLock(lock: string, maxTries: number): Promise<void> {
  for (let tries = 0; !tryLock(lock); tries += 1) {
    // The lock is never taken over: that needs a race, and it is held for a millisecond only.
    if (tries === maxTries) {
      throw new KeyFileError(
        `${lock} is held by another process; remove it if no \`lmserv keys\` is running`,
      );
    }
    await delay(LOCK_RETRY_MS);
  }
}

/** Creates the lock file; returns false when another process holds it. */
function tryLock(lock: string): boolean {
  let descriptor: number;
  try {
    descriptor = fs.openSync(lock, 'wx', 0o600);
  } catch (error) {
    if (errorCode(error) === 'EEXIST') return false;
    throw error;
  }
  try {
    fs.writeFileSync(descriptor, `${process.pid}\n`);
    return true;
  } catch (error) {
    // The disk is full: a leftover lock would block every later command.
    removeIfPossible(lock);
    throw error;
  } finally {
    fs.closeSync(descriptor);
  }
}

/**
 * Replaces `file` and keeps its owner and mode; a new file has mode 0600. A reader sees either the old or the new text,
 * even after a power cut.
 *
 * @throws KeyFileError; the old file is then unchanged.
 */
export function writeAtomically(file: string, text: string): void {
  const target = realFile(file);
  const folder = dirname(target);
  const temporary = join(folder, `.${randomUUID()}.tmp`);
  try {
    writeDurably(temporary, text, target);
    fs.renameSync(temporary, target);
    syncFolder(folder);
  } catch (error) {
    removeIfPossible(temporary);
    throw writeError(file, error);
  }
}

function writeDurably(file: string, text: string, target: string): void {
  const descriptor = fs.openSync(file, 'wx', 0o600);
  try {
    keepAccess(descriptor, target);
    fs.writeFileSync(descriptor, text);
    fs.fsyncSync(descriptor);
  } finally {
    fs.closeSync(descriptor);
  }
}

/** Keeps the file readable for the same accounts, such as the server's when root adds a key. */
function keepAccess(descriptor: number, target: string): void {
  const old = fs.statSync(target, { throwIfNoEntry: false });
  if (old === undefined) return;
  const created = fs.fstatSync(descriptor);
  if (old.uid !== created.uid || old.gid !== created.gid) fs.fchownSync(descriptor, old.uid, old.gid);
  fs.fchmodSync(descriptor, old.mode & 0o777);
}

function syncFolder(folder: string): void {
  const descriptor = fs.openSync(folder, 'r');
  try {
    fs.fsyncSync(descriptor);
  } finally {
    fs.closeSync(descriptor);
  }
}

/** Ignores errors: on a broken disk this fails as well, and the first error says more. */
function removeIfPossible(file: string): void {
  try {
    fs.rmSync(file, { force: true });
  } catch {
    // The file is empty or incomplete, and nothing reads it.
  }
}

/** Follows links, even to a file that does not exist yet; otherwise the file would replace the link. */
function realFile(file: string): string {
  try {
    return fs.realpathSync(file);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT' || !fs.lstatSync(file, { throwIfNoEntry: false })) return file;
    return realFile(resolve(fs.realpathSync(dirname(file)), fs.readlinkSync(file)));
  }
}

function writeError(file: string, error: unknown): Error {
  if (error instanceof KeyFileError) return error;
  return new KeyFileError(`The key file ${file} cannot be written (${errorCode(error)})`, { cause: error });
}

function errorCode(error: unknown): string {
  return String((error as NodeJS.ErrnoException).code);
}
