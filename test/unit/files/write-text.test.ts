import {
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { resolveLink, writeAtomically } from '../../../src/files/write-text.js';

let folder: string;
let file: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lmserv-write-'));
  file = join(folder, 'file');
});
afterEach(() => rmSync(folder, { recursive: true }));

const mode = (): string => (statSync(file).mode & 0o777).toString(8);

test('a new file is private by default and gets the mode it is given', () => {
  writeAtomically(file, 'one');
  expect(mode()).toBe('600');
  rmSync(file);
  writeAtomically(file, 'two', 0o640);
  expect(mode()).toBe('640');
});

test('an existing file keeps its mode and is replaced rather than rewritten', () => {
  writeFileSync(file, 'old', { mode: 0o640 });
  const { ino } = statSync(file);
  writeAtomically(file, 'new', 0o600);
  expect([mode(), readFileSync(file, 'utf8')]).toEqual(['640', 'new']);
  expect(statSync(file).ino).not.toBe(ino);
  expect(readdirSync(folder)).toEqual(['file']);
});

test('a link to a device is replaced, and the device keeps its place', () => {
  symlinkSync('/dev/null', file);
  writeAtomically(file, 'text', 0o644);
  expect([mode(), lstatSync(file).isFile()]).toEqual(['644', true]);
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
