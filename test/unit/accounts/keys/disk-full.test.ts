/** On a full disk a change of the key file fails wherever it writes. */

import * as fs from 'node:fs';
import * as promises from 'node:fs/promises';
import { jest } from '@jest/globals';
import { emptyFolder } from '../../../support/folder.js';
import { keyText, sha256, writePrivate } from './helpers.js';

const write = jest.fn(fs.writeFileSync);
const writeLock = jest.fn(promises.writeFile);
jest.unstable_mockModule('node:fs', () => ({ ...fs, writeFileSync: write }));
jest.unstable_mockModule('node:fs/promises', () => ({ ...promises, writeFile: writeLock }));
const { addKey, listKeys, revokeKey } = await import('../../../../src/accounts/keys/manage.js');

const folder = emptyFolder();
const file = `${folder}/keys.json`;
beforeEach(() => {
  writePrivate(file, keyText({ name: 'a', sha256: sha256('a') }));
  write.mockReset().mockImplementation(fs.writeFileSync);
  writeLock.mockReset().mockImplementation(promises.writeFile);
});

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
])('when %s cannot be written, only the old file remains', async (_, fill) => {
  const before = fs.readFileSync(file, 'utf8');
  for (const change of [() => addKey(file, { name: 'b' }), () => revokeKey(file, 'a')]) {
    fill();
    await expect(change()).rejects.toThrow(`The key file ${file} cannot be written (ENOSPC)`);
    expect(fs.readFileSync(file, 'utf8')).toBe(before);
    expect(fs.readdirSync(folder)).toEqual(['keys.json']);
  }
  await revokeKey(file, 'a');
  expect(listKeys(file)).toEqual([]);
});
