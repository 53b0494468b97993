import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A folder for a test file, removed after its last test. */
export function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'lmserv-test-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A folder for a test file that is empty when each test begins. */
export function emptyFolder(): string {
  const folder = newFolder();
  beforeEach(() => {
    for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true });
  });
  return folder;
}

/** The permissions of a file or folder, in octal. */
export const modeOf = (path: string): string => (statSync(path).mode & 0o777).toString(8);
