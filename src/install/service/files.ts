/** Files of the system, written whole or not at all. */
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';

/** @returns whether anything had to be written */
export async function putFile(file: string, text: string): Promise<boolean> {
  const there = await readFile(file, 'utf8').catch(() => undefined);
  if (there === text) return false;
  await mkdir(path.dirname(file), { recursive: true, mode: 0o755 });
  await writeFile(`${file}.new`, text, { mode: 0o644 });
  await rename(`${file}.new`, file);
  return true;
}

const SETTINGS = (
  key: string,
): string => `# Settings of the LMServ service: docs/configuration.md has them all.
# Only root reads this file; systemd hands it to the server. After a change: systemctl restart lmserv
API_KEY=${key}
`;

/** Makes the file of settings, with a key that nobody knows, unless there is one. @returns whether it was made */
export async function createEnvFile(file: string): Promise<boolean> {
  await mkdir(path.dirname(file), { recursive: true, mode: 0o755 });
  const key = randomBytes(24).toString('base64url');
  try {
    await writeFile(file, SETTINGS(key), { mode: 0o600, flag: 'wx' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    return false;
  }
}
