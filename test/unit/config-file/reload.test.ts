import { readFileSync, rmSync } from 'node:fs';
import { ConfigReloader } from '../../../src/config-file/reload.js';
import type { ConfigFile } from '../../../src/config-file/schema.js';
import { remote, temporaryFolder, type Folder } from './helpers.js';

let folder: Folder;
beforeEach(() => {
  folder = temporaryFolder();
  folder.write(config('a'));
});
afterEach(() => folder.remove());

const config = (name: string) => ({ remotes: { [name]: remote() } });

function reloader(apply?: (next: ConfigFile) => Promise<void>) {
  const applied: string[] = [];
  const errors: string[] = [];
  const made = new ConfigReloader({
    file: folder.file,
    text: readFileSync(folder.file, 'utf8'),
    apply: async (next) => {
      await apply?.(next);
      applied.push(...Object.keys(next.remotes));
    },
    onError: (error) => errors.push((error as Error).message),
  });
  return { made, applied, errors };
}

test('what is the same is not applied again, unless asked for', async () => {
  const { made, applied } = reloader();
  await made.look();
  expect(applied).toEqual([]);
  await made.look(true);
  expect(applied).toEqual(['a']);
});

test('what is new is applied once', async () => {
  const { made, applied, errors } = reloader();
  folder.write(config('b'));
  await made.look();
  await made.look();
  expect(applied).toEqual(['b']);
  expect(errors).toEqual([]);
});

test('a bad file is told of once and changes nothing; a good one after it is applied', async () => {
  const { made, applied, errors } = reloader();
  folder.write({ remotes: { b: remote({ kind: 'x' }) } });
  await made.look();
  await made.look();
  expect(applied).toEqual([]);
  expect(errors).toEqual(['lmserv.config.json: remotes.b.kind: must be "llama" or "openai"']);
  folder.write(config('a'));
  await made.look();
  expect(applied).toEqual(['a']);
});

test('a file that has gone is told of', async () => {
  const { made, applied, errors } = reloader();
  rmSync(folder.file);
  await made.look();
  expect(applied).toEqual([]);
  expect(errors[0]).toContain('ENOENT');
});

test('one that cannot be applied is told of', async () => {
  const { made, errors } = reloader(() => Promise.reject(new Error('no memory')));
  folder.write(config('b'));
  await made.look();
  expect(errors).toEqual(['no memory']);
});

test('one look follows the other', async () => {
  const order: string[] = [];
  let release!: () => void;
  const held = new Promise<void>((resolve) => (release = resolve));
  const { made } = reloader(async (next) => {
    const [name] = Object.keys(next.remotes);
    order.push(`begin ${name}`);
    if (name === 'b') await held;
    order.push(`end ${name}`);
  });
  folder.write(config('b'));
  const first = made.look();
  await Promise.resolve();
  folder.write(config('c'));
  const second = made.look();
  release();
  await Promise.all([first, second]);
  expect(order).toEqual(['begin b', 'end b', 'begin c', 'end c']);
});
