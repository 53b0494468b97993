import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspectModel } from '../../../src/install/models/inspect.js';
import { ModelError } from '../../../src/install/models/spec.js';
import { emptyFolder } from '../../support/folder.js';
import { FILE } from '../doctor/fakes.js';
import { gguf } from '../doctor/gguf-bytes.js';

const folder = emptyFolder();
const at = (name: string) => join(folder, name);

const WHOLE = gguf([['general.architecture', 'string', 'llama']], { tensors: [0, 4096] });
const whole = Buffer.concat([WHOLE, Buffer.alloc(8192)]);

test('a whole file, also behind a link', async () => {
  writeFileSync(at('m.gguf'), whole);
  symlinkSync('m.gguf', at('link.gguf'));
  expect(await inspectModel(at('link.gguf'))).toMatchObject({ size: whole.length });
});

test.each<[string, string | Buffer, string]>([
  ['an empty file', '', 'is not a GGUF file'],
  [
    'a Git LFS pointer',
    'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n',
    'is not a GGUF file',
  ],
  ['a web page', '<!doctype html><title>Log in</title>', 'is not a GGUF file'],
  ['another format', Buffer.from([8, 0, 0, 0, 0, 0, 0, 0, 0x7b]), 'is not a GGUF file'],
  ['a file cut in its header', WHOLE.subarray(0, 30), 'ends in the middle of its header'],
  [
    'a file cut in its tensors',
    whole.subarray(0, WHOLE.length + 100),
    'is cut: its tensors go on after its end',
  ],
])('%s is refused', async (_what, content, message) => {
  writeFileSync(at('m.gguf'), content);
  const refused = inspectModel(at('m.gguf'));
  await expect(refused).rejects.toBeInstanceOf(ModelError);
  await expect(refused).rejects.toThrow(`${at('m.gguf')} ${message}`);
});

test('a folder, a device and a missing file are refused', async () => {
  mkdirSync(at('m.gguf'));
  await expect(inspectModel(at('m.gguf'))).rejects.toThrow('is not a regular file');
  await expect(inspectModel('/dev/null')).rejects.toThrow('/dev/null is not a regular file');
  await expect(inspectModel(at('none.gguf'))).rejects.toThrow(`there is no file ${at('none.gguf')}`);
});

test('a file of another account is refused', async () => {
  const disk = { stat: async () => ({ ...FILE, readable: false }), readHead: async () => whole };
  await expect(inspectModel('/m.gguf', disk)).rejects.toThrow('/m.gguf may not be read by this account');
});

test('the other parts of a split model must be there', async () => {
  writeFileSync(at('m-00001-of-00002.gguf'), whole);
  await expect(inspectModel(at('m-00001-of-00002.gguf'))).rejects.toThrow('m-00002-of-00002.gguf');
});
