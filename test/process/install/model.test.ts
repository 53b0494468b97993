import { createHash, randomBytes } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { ensureModel, obtainModel, type ModelOptions } from '../../../src/install/models/ensure.js';
import { linkModel } from '../../../src/install/models/ensure.js';
import { FileServer } from './support/file-server.js';
import { temporaryFolder } from './support/temp.js';

const gguf = (bytes: number) => Buffer.concat([Buffer.from('GGUF'), randomBytes(bytes)]);
const sha256 = (body: Buffer) => createHash('sha256').update(body).digest('hex');

let hub: FileServer;
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let modelsDir: string;

beforeEach(async () => {
  hub = await FileServer.start();
  folder = await temporaryFolder();
  modelsDir = path.join(folder.path, 'models');
});
afterEach(async () => {
  await hub.stop();
  await folder.remove();
});

const LISTING = '/api/models/org/repo/tree/main?recursive=1';

/** Puts files into the hub's repository org/repo; their contents live on another host, as with real hubs. */
function publish(files: Record<string, Buffer>): void {
  const listing = Object.entries(files).map(([name, body]) => ({
    type: 'file',
    path: name,
    size: body.length,
    oid: 'x',
    lfs: { oid: sha256(body), size: body.length, pointerSize: 1 },
  }));
  hub.files.set(LISTING, {
    body: Buffer.from(JSON.stringify([{ type: 'directory', path: 'x', size: 0 }, ...listing])),
  });
  for (const [name, body] of Object.entries(files)) {
    hub.redirects.set(`/org/repo/resolve/main/${name}`, hub.url(`/cdn/${name}`, 'localhost'));
    hub.files.set(`/cdn/${name}`, { body });
  }
}

const options = (more: Partial<ModelOptions> = {}): ModelOptions => ({
  modelsDir,
  endpoint: hub.url(),
  backoffMs: 1,
  ...more,
});

test('a model of the hub is fetched, checked and then found without the network', async () => {
  const body = gguf(50_000);
  publish({ 'm-Q4_K_M.gguf': body, 'm-Q8_0.gguf': gguf(10) });
  const file = path.join(modelsDir, 'm-Q4_K_M.gguf');
  await expect(ensureModel('hf:org/repo', options())).resolves.toBe(file);
  expect((await readFile(file)).equals(body)).toBe(true);
  const asked = hub.seen.length;
  await expect(ensureModel('hf:org/repo', options())).resolves.toBe(file);
  expect(hub.seen).toHaveLength(asked);
});

test('the quantisation that was asked for is fetched', async () => {
  publish({ 'm-Q4_K_M.gguf': gguf(10), 'm-Q8_0.gguf': gguf(20) });
  await expect(ensureModel('org/repo:q8_0', options())).resolves.toBe(path.join(modelsDir, 'm-Q8_0.gguf'));
});

test('the token goes to the hub and to no other host', async () => {
  publish({ 'm-Q4_0.gguf': gguf(10) });
  await ensureModel('hf:org/repo', options({ token: 'secret' }));
  expect(hub.seen.map(({ path: seen, authorization }) => [seen, authorization])).toEqual([
    [LISTING, 'Bearer secret'],
    ['/org/repo/resolve/main/m-Q4_0.gguf', 'Bearer secret'],
    ['/cdn/m-Q4_0.gguf', undefined],
  ]);
});

test('all parts of a split model are fetched, and the first is what llama.cpp is given', async () => {
  const parts = ['m-Q4_0-00001-of-00002.gguf', 'm-Q4_0-00002-of-00002.gguf'];
  publish(Object.fromEntries(parts.map((name) => [`Q4_0/${name}`, gguf(30)])));
  const progress: string[] = [];
  const onProgress: ModelOptions['onProgress'] = ({ file, index, count }) =>
    progress.push(`${file} ${index}/${count}`);
  await expect(ensureModel('hf:org/repo', options({ onProgress }))).resolves.toBe(
    path.join(modelsDir, parts[0] ?? ''),
  );
  expect((await readdir(modelsDir)).filter((name) => name.endsWith('.gguf'))).toEqual(parts);
  expect([...new Set(progress)]).toEqual([`${parts[0]} 1/2`, `${parts[1]} 2/2`]);
});

test('renamed, a split model keeps its part numbers', async () => {
  publish({ 'm-Q4_0-00001-of-00002.gguf': gguf(30), 'm-Q4_0-00002-of-00002.gguf': gguf(30) });
  const file = await ensureModel('hf:org/repo', options({ name: 'mine' }));
  expect(path.basename(file)).toBe('mine-00001-of-00002.gguf');
});

test('a different file of the same name is never overwritten', async () => {
  publish({ 'm-Q4_0.gguf': gguf(10) });
  await ensureModel('hf:org/repo', options());
  const mine = gguf(10);
  await writeFile(path.join(modelsDir, 'm-Q8_0.gguf'), mine);
  publish({ 'm-Q8_0.gguf': gguf(10) });
  await expect(ensureModel('hf:org/repo:Q8_0', options())).rejects.toThrow('exists and is a different file');
  expect((await readFile(path.join(modelsDir, 'm-Q8_0.gguf'))).equals(mine)).toBe(true);
});

test('the same file put there by other means is taken over without a download', async () => {
  const body = gguf(10);
  publish({ 'm-Q4_0.gguf': body, 'm-Q8_0.gguf': gguf(5) });
  await ensureModel('hf:org/repo:Q8_0', options());
  await writeFile(path.join(modelsDir, 'm-Q4_0.gguf'), body);
  const checked: number[] = [];
  await ensureModel('hf:org/repo:Q4_0', options({ onProgress: ({ received }) => checked.push(received) }));
  expect(checked.at(-1)).toBe(body.length);
  expect(hub.seen.map(({ path: seen }) => seen)).not.toContain('/cdn/m-Q4_0.gguf');
});

test('contents that differ from the listed checksum are refused', async () => {
  publish({ 'm-Q4_0.gguf': gguf(100) });
  hub.files.set('/cdn/m-Q4_0.gguf', { body: gguf(100) });
  await expect(ensureModel('hf:org/repo', options())).rejects.toMatchObject({ code: 'checksum' });
  expect(await readdir(modelsDir)).toEqual([]);
});

test('an interrupted download goes on in the next run', async () => {
  const body = gguf(200_000);
  publish({ 'm-Q4_0.gguf': body });
  hub.files.set('/cdn/m-Q4_0.gguf', { body, cuts: [90_000] });
  const stop = new Error('stopped');
  const controller = new AbortController();
  const onProgress: ModelOptions['onProgress'] = ({ received }) => received > 0 && controller.abort(stop);
  await expect(ensureModel('hf:org/repo', options({ signal: controller.signal, onProgress }))).rejects.toBe(
    stop,
  );
  await expect(ensureModel('hf:org/repo', options())).resolves.toBe(path.join(modelsDir, 'm-Q4_0.gguf'));
});

test('two that want the same model at once fetch it once', async () => {
  publish({ 'm-Q4_0.gguf': gguf(50_000) });
  const [one, other] = await Promise.all([
    ensureModel('hf:org/repo', options()),
    ensureModel('hf:org/repo', options()),
  ]);
  expect(one).toBe(other);
  expect(hub.seen.filter(({ path: seen }) => seen === '/cdn/m-Q4_0.gguf')).toHaveLength(1);
});

test.each([
  [401, 'set HF_TOKEN'],
  [403, 'set HF_TOKEN'],
  [404, 'check the spelling'],
])('the hub answering %d says what to do', async (status, advice) => {
  hub.files.set(LISTING, { body: Buffer.from(''), failures: [status] });
  await expect(ensureModel('hf:org/repo', options())).rejects.toThrow(advice);
});

test('a busy hub is asked again', async () => {
  publish({ 'm-Q4_0.gguf': gguf(10) });
  const listing = hub.files.get(LISTING);
  hub.files.set(LISTING, { body: listing?.body ?? Buffer.alloc(0), failures: [503, 502] });
  await expect(ensureModel('hf:org/repo', options())).resolves.toContain('m-Q4_0.gguf');
});

test('a URL is fetched with its checksum told', async () => {
  const body = gguf(1000);
  hub.files.set('/dir/a.gguf?x=1', { body });
  const { files } = await obtainModel(hub.url('/dir/a.gguf?x=1'), options());
  expect(files).toEqual([
    { path: path.join(modelsDir, 'a.gguf'), name: 'a.gguf', size: 1004, sha256: sha256(body) },
  ]);
});

test('a URL with the wrong --sha256 is refused', async () => {
  hub.files.set('/a.gguf', { body: gguf(10) });
  const wrong = options({ sha256: '0'.repeat(64) });
  await expect(obtainModel(hub.url('/a.gguf'), wrong)).rejects.toMatchObject({ code: 'checksum' });
});

test('a file that is not GGUF is not kept', async () => {
  hub.files.set('/a.gguf', { body: Buffer.from('<html>Sign in</html>') });
  await expect(obtainModel(hub.url('/a.gguf'), options())).rejects.toThrow('a.gguf is not a GGUF file');
  expect(await readdir(modelsDir)).toEqual([]);
});

test('a URL without a usable name wants one', async () => {
  await expect(obtainModel(hub.url('/download?id=3'), options())).rejects.toThrow('--name');
  await expect(obtainModel(hub.url('/..%2Fevil.gguf'), options())).rejects.toThrow('--name');
  expect(hub.seen).toEqual([]);
});

test('a path is checked and linked; the same again is fine, another is refused', async () => {
  const [one, other] = [path.join(folder.path, 'one.gguf'), path.join(folder.path, 'other.gguf')];
  await writeFile(one, gguf(10));
  await writeFile(other, gguf(20));
  const link = path.join(modelsDir, 'mine.gguf');
  await expect(linkModel(one, modelsDir, 'mine')).resolves.toEqual({ path: link, linked: true });
  await expect(linkModel(one, modelsDir, 'mine')).resolves.toEqual({ path: link, linked: true });
  expect((await readFile(link)).equals(await readFile(one))).toBe(true);
  await expect(linkModel(other, modelsDir, 'mine')).rejects.toThrow('exists and is a different file');
});

test('a path that is no model, or nothing, is refused', async () => {
  const text = path.join(folder.path, 'text.gguf');
  await writeFile(text, 'text');
  await expect(linkModel(text, modelsDir, undefined)).rejects.toThrow('is not a GGUF file');
  await expect(ensureModel(path.join(folder.path, 'none.gguf'), options())).rejects.toThrow(
    'There is no file',
  );
});
