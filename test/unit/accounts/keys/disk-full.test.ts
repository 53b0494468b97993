/** A disk that is full: every write fails, wherever in a change of the key file it happens. */

import * as fs from 'node:fs';
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { keyText, sha256, temporaryFolder, writePrivate } from './helpers.js';

const write = jest.fn(fs.writeFileSync);
jest.unstable_mockModule('node:fs', () => ({ ...fs, writeFileSync: write }));
const { addKey, listKeys, revokeKey } = await import('../../../../src/accounts/keys/manage.js');

let folder: ReturnType<typeof temporaryFolder>;
let file: string;
beforeEach(() => {
  folder = temporaryFolder();
  file = `${folder.path}/keys.json`;
  writePrivate(file, keyText({ name: 'a', sha256: sha256('a') }));
  write.mockReset().mockImplementation(fs.writeFileSync);
});
afterEach(() => folder.remove());

const full = (): never => {
  throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
};

test.each([
  ['the lock', () => write.mockImplementationOnce(full)],
  [
    'the new file',
    () =>
      write.mockImplementationOnce(fs.writeFileSync).mockImplementationOnce((target, text) => {
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
