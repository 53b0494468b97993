/** Shared by the key tests: a folder of its own and files in it. */

import { createHash } from 'node:crypto';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export function temporaryFolder(): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), 'lmserv-keys-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

export const sha256 = (key: string): string => createHash('sha256').update(key).digest('hex');

/** The text of a key file with these entries. */
export const keyText = (...keys: unknown[]): string => JSON.stringify({ keys });

/** Writes a file as its owner's alone. */
export function writePrivate(file: string, text: string): void {
  writeFileSync(file, text, { mode: 0o600 });
}

/** Replaces a file the way editors do. */
export function replaceFile(file: string, text: string): void {
  writePrivate(`${file}.swp`, text);
  renameSync(`${file}.swp`, file);
}
