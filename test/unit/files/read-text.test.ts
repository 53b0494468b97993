import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readConfigFileSync } from '../../../src/config/file/load.js';
import { loadConfig } from '../../../src/config/load.js';
import { readText, readTextSync, MAX_FILE_BYTES } from '../../../src/files/read-text.js';
import { Keyring } from '../../../src/accounts/keys/keyring.js';
import { emptyFolder } from '../../support/folder.js';

const folder = emptyFolder();
const file = join(folder, 'file');

test('a file is read with its mode, even through links', async () => {
  writeFileSync(file, 'größer', { mode: 0o640 });
  symlinkSync('file', join(folder, 'link'));
  for (const path of [file, join(folder, 'link')]) {
    expect(readTextSync(path)).toEqual({ text: 'größer', mode: 0o640 });
    expect(await readText(path)).toEqual({ text: 'größer', mode: 0o640 });
  }
});

test('a file of the maximum size is read', async () => {
  writeFileSync(file, 'x'.repeat(MAX_FILE_BYTES));
  expect((await readText(file)).text).toHaveLength(MAX_FILE_BYTES);
  expect(readTextSync(file).text).toHaveLength(MAX_FILE_BYTES);
});

/** What may exist instead of a file, and why it is refused. */
const UNREADABLE: [string, string, () => void][] = [
  ['a named pipe without a writer', 'not a regular file', () => execFileSync('mkfifo', [file])],
  ['a folder', 'not a regular file', () => mkdirSync(file)],
  ['an endless device', 'not a regular file', () => symlinkSync('/dev/zero', file)],
  ['a file of 1 GiB', 'larger than 8 MiB', () => (writeFileSync(file, ''), truncateSync(file, 2 ** 30))],
  ['a link to itself', 'ELOOP', () => symlinkSync('file', file)],
];

describe.each(UNREADABLE)('%s', (_, code, make) => {
  beforeEach(() => make());

  test('is refused immediately', async () => {
    await expect(readText(file)).rejects.toMatchObject({ code });
    expect(() => readTextSync(file)).toThrow(expect.objectContaining({ code }));
  });

  test('is named in the error as the key file, the configuration file and the profile file', () => {
    expect(() => new Keyring({ file })).toThrow(`The key file ${file} cannot be read (${code})`);
    expect(() => readConfigFileSync(file)).toThrow(`file: cannot be read (${code})`);
    const env = { LLM_CONNECT_PROVIDER: 'mock', LLM_CONNECT_PROFILE_FILE: file };
    const message = `LLM_CONNECT_PROFILE_FILE: cannot be read (${code})`;
    expect(() => loadConfig({}, { env, folder })).toThrow(message);
  });

  test('is named in the error as .env', () => {
    symlinkSync(file, join(folder, '.env'));
    expect(() => loadConfig({}, { env: {}, folder })).toThrow(`.env: cannot be read (${code})`);
  });
});
