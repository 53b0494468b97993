import { createHash } from 'node:crypto';
import { renameSync, writeFileSync } from 'node:fs';

export const sha256 = (key: string): string => createHash('sha256').update(key).digest('hex');

/** The text of a key file with these entries. */
export const keyText = (...keys: unknown[]): string => JSON.stringify({ keys });

/** Writes a file that only its owner can read. */
export function writePrivate(file: string, text: string): void {
  writeFileSync(file, text, { mode: 0o600 });
}

/** Replaces a file the way editors do. */
export function replaceFile(file: string, text: string): void {
  writePrivate(`${file}.swp`, text);
  renameSync(`${file}.swp`, file);
}
