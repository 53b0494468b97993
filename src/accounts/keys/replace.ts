/** Replacing a file that others read, whole or not at all, by one writer at a time. */

import { randomUUID } from 'node:crypto';
import * as fs from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { KeyFileError } from './file.js';

const LOCK_RETRY_MS = 20;
const LOCK_TRIES = 250;

const codeOf = (error: unknown): string => String((error as NodeJS.ErrnoException).code);

/** A link is followed, or the file would take the place of the link, also where the link leads to nothing yet. */
function realFile(file: string): string {
  try {
    return fs.realpathSync(file);
  } catch (error) {
    if (codeOf(error) !== 'ENOENT' || !fs.lstatSync(file, { throwIfNoEntry: false })) return file;
    return realFile(resolve(fs.realpathSync(dirname(file)), fs.readlinkSync(file)));
  }
}

function writeError(file: string, error: unknown): Error {
  if (error instanceof KeyFileError) return error;
  return new KeyFileError(`The key file ${file} cannot be written (${codeOf(error)})`, { cause: error });
}

/** Creates the lock file; false when another process holds it. */
function tryLock(lock: string): boolean {
  let descriptor: number;
  try {
    descriptor = fs.openSync(lock, 'wx', 0o600);
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw error;
  }
  try {
    fs.writeFileSync(descriptor, `${process.pid}\n`);
    return true;
  } catch (error) {
    // On a full disk; a lock that is left would keep out every later command.
    removeIfPossible(lock);
    throw error;
  } finally {
    fs.closeSync(descriptor);
  }
}

async function takeLock(lock: string, most: number): Promise<void> {
  for (let tries = 0; !tryLock(lock); tries += 1) {
    // Never taken over: that cannot be done without a race, and the lock is held for a millisecond.
    if (tries === most) {
      throw new KeyFileError(
        `${lock} is held by another process; remove it if no \`lmserv keys\` is running`,
      );
    }
    await delay(LOCK_RETRY_MS);
  }
}

/**
 * Runs `change` while no other process changes `file`; waits up to five seconds for one that does.
 *
 * @param tries how often the lock is tried again, 20 ms apart.
 * @throws KeyFileError, or what `change` throws.
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

/** Leaves the file to the accounts that may read it, the server's among them, also when root adds a key. */
function keepAccess(descriptor: number, target: string): void {
  const old = fs.statSync(target, { throwIfNoEntry: false });
  if (old === undefined) return;
  const made = fs.fstatSync(descriptor);
  if (old.uid !== made.uid || old.gid !== made.gid) fs.fchownSync(descriptor, old.uid, old.gid);
  fs.fchmodSync(descriptor, old.mode & 0o777);
}

/** On a broken disk this fails too, and the first error says more. */
function removeIfPossible(file: string): void {
  try {
    fs.rmSync(file, { force: true });
  } catch {
    // It is empty or half-written, and nothing reads it.
  }
}

function syncFolder(folder: string): void {
  const descriptor = fs.openSync(folder, 'r');
  try {
    fs.fsyncSync(descriptor);
  } finally {
    fs.closeSync(descriptor);
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

/**
 * Replaces `file`, keeping its owner and mode, which is 0600 for a new one: a reader sees the old text or the new one,
 * also after a power cut.
 *
 * @throws KeyFileError; the old file is then as it was.
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
