import { lstatSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { resolveLink, writeAtomically } from '../../../src/files/write-text.js';
import { emptyFolder, modeOf } from '../../support/folder.js';

const folder = emptyFolder();
const file = join(folder, 'file');

test('a new file is private by default and otherwise has the requested mode', () => {
  writeAtomically(file, 'one');
  expect(modeOf(file)).toBe('600');
  rmSync(file);
  writeAtomically(file, 'two', 0o640);
  expect(modeOf(file)).toBe('640');
});

test('an existing file keeps its mode and is replaced rather than rewritten', () => {
  writeFileSync(file, 'old', { mode: 0o640 });
  const { ino } = statSync(file);
  writeAtomically(file, 'new', 0o600);
  expect([modeOf(file), readFileSync(file, 'utf8')]).toEqual(['640', 'new']);
  expect(statSync(file).ino).not.toBe(ino);
  expect(readdirSync(folder)).toEqual(['file']);
});

test('a link to a device is replaced, and the device is unchanged', () => {
  symlinkSync('/dev/null', file);
  writeAtomically(file, 'text', 0o644);
  expect([modeOf(file), lstatSync(file).isFile()]).toEqual(['644', true]);
  expect(lstatSync('/dev/null').isCharacterDevice()).toBe(true);
});

test('a failure leaves nothing behind', () => {
  expect(() => writeAtomically(join(folder, 'none', 'file'), 'text')).toThrow('ENOENT');
  expect(readdirSync(folder)).toEqual([]);
});

test('a chain of links is followed to its end, which need not exist', () => {
  symlinkSync('second', file);
  symlinkSync('target', join(folder, 'second'));
  expect(resolveLink(file)).toBe(join(folder, 'target'));
  expect(resolveLink(join(folder, 'plain'))).toBe(join(folder, 'plain'));
});
