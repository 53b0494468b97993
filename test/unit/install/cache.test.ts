import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cacheDir, CacheError, prepareCache } from '../../../src/install/early/lock.mjs';
import { emptyFolder } from '../../support/folder.js';

const folder = emptyFolder();

test('LMSERV_CACHE_DIR precedes XDG_CACHE_HOME, which precedes the home folder', () => {
  expect(cacheDir({ LMSERV_CACHE_DIR: '/a', XDG_CACHE_HOME: '/b' })).toBe('/a');
  expect(cacheDir({ XDG_CACHE_HOME: '/b' })).toBe('/b/lmserv');
  expect(cacheDir({})).toMatch(/\.cache\/lmserv$/);
});

test('the folder is made', async () => {
  const cache = join(folder, 'a/b');
  await prepareCache({ LMSERV_CACHE_DIR: cache });
  expect(statSync(cache).isDirectory()).toBe(true);
});

test('a folder that cannot be made is an error that names LMSERV_CACHE_DIR', async () => {
  const file = join(folder, 'file');
  writeFileSync(file, '');
  const refused = prepareCache({ LMSERV_CACHE_DIR: join(file, 'cache') });
  await expect(refused).rejects.toBeInstanceOf(CacheError);
  await expect(refused).rejects.toThrow(
    `The cache ${file}/cache cannot be written (ENOTDIR): set LMSERV_CACHE_DIR to a folder that this account may write`,
  );
});
