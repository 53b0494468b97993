/** A disk that is full: every write fails, wherever in a change of the key file it happens. */

import * as fs from 'node:fs';
import * as promises from 'node:fs/promises';
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { keyText, sha256, temporaryFolder, writePrivate } from './helpers.js';

const write = jest.fn(fs.writeFileSync);
const writeLock = jest.fn(promises.writeFile);
jest.unstable_mockModule('node:fs', () => ({ ...fs, writeFileSync: write }));
jest.unstable_mockModule('node:fs/promises', () => ({ ...promises, writeFile: writeLock }));
const { addKey, listKeys, revokeKey } = await import('../../../../src/accounts/keys/manage.js');

let folder: ReturnType<typeof temporaryFolder>;
let file: string;
beforeEach(() => {
  folder = temporaryFolder();
  file = `${folder.path}/keys.json`;
  writePrivate(file, keyText({ name: 'a', sha256: sha256('a') }));
  write.mockReset().mockImplementation(fs.writeFileSync);
  writeLock.mockReset().mockImplementation(promises.writeFile);
});
afterEach(() => folder.remove());

const full = (): never => {
  throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
};

test.each([
  [
    'the lock',
    () =>
      writeLock.mockImplementationOnce(async (target, _, options) => {
        await promises.writeFile(target, '', options);
        full();
      }),
  ],
  [
    'the new file',
    () =>
      write.mockImplementationOnce((target, text) => {
        fs.writeFileSync(target, (text as string).slice(0, 9));
        full();
      }),
  ],
])('when %s cannot be written, the old file remains and nothing else', async (_, fill) => {
  const before = fs.readFileSync(file, 'utf8');
  for (const change of [() => addKey(file, { name: 'b' }), () => revokeKey(file, 'a')]) {
    fill();
    await expect(change()).rejects.toThrow(`The key file ${file} cannot be written (ENOSPC)`);
    expect(fs.readFileSync(file, 'utf8')).toBe(before);
    expect(fs.readdirSync(folder.path)).toEqual(['keys.json']);
  }
  await revokeKey(file, 'a');
  expect(listKeys(file)).toEqual([]);
});
