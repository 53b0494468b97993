import { createHash, randomBytes } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import {
  ensureModel,
  linkModel,
  obtainModel,
  type ModelOptions,
} from '../../../src/install/models/ensure.js';
import { emptyFolder } from '../../support/folder.js';
import { FileServer } from '../support/file-server.js';

const gguf = (bytes: number) => Buffer.concat([Buffer.from('GGUF'), randomBytes(bytes)]);
const sha256 = (body: Buffer) => createHash('sha256').update(body).digest('hex');

let hub: FileServer;
const folder = emptyFolder();
const modelsDir = path.join(folder, 'models');

beforeEach(async () => {
  hub = await FileServer.start();
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
  ...{ modelsDir, endpoint: hub.url(), backoffMs: 1 },
  ...more,
});

/** The model of a spec, from the hub's repository by default. */
const ensure = (more: Partial<ModelOptions> = {}, spec = 'hf:org/repo') => ensureModel(spec, options(more));
const inModels = (name: string) => path.join(modelsDir, name);

test('a model of the hub is fetched, checked and then found without the network', async () => {
  const body = gguf(50_000);
  publish({ 'm-Q4_K_M.gguf': body, 'm-Q8_0.gguf': gguf(10) });
  const file = inModels('m-Q4_K_M.gguf');
  await expect(ensure()).resolves.toBe(file);
  expect((await readFile(file)).equals(body)).toBe(true);
  const asked = hub.seen.length;
  await expect(ensure()).resolves.toBe(file);
  expect(hub.seen).toHaveLength(asked);
});

test('the requested quantisation is fetched', async () => {
  publish({ 'm-Q4_K_M.gguf': gguf(10), 'm-Q8_0.gguf': gguf(20) });
  await expect(ensure({}, 'org/repo:q8_0')).resolves.toBe(inModels('m-Q8_0.gguf'));
});

test('the token goes to the hub and to no other host', async () => {
  publish({ 'm-Q4_0.gguf': gguf(10) });
  await ensure({ token: 'secret' });
  expect(hub.seen.map(({ path: seen, authorization }) => [seen, authorization])).toEqual([
    [LISTING, 'Bearer secret'],
    ['/org/repo/resolve/main/m-Q4_0.gguf', 'Bearer secret'],
    ['/cdn/m-Q4_0.gguf', undefined],
  ]);
});

test('all parts of a split model are fetched, and the first one is the model’s path', async () => {
  const parts = ['m-Q4_0-00001-of-00002.gguf', 'm-Q4_0-00002-of-00002.gguf'];
  publish(Object.fromEntries(parts.map((name) => [`Q4_0/${name}`, gguf(30)])));
  const progress: string[] = [];
  const onProgress: ModelOptions['onProgress'] = ({ file, index, count }) =>
    progress.push(`${file} ${index}/${count}`);
  await expect(ensure({ onProgress })).resolves.toBe(inModels(parts[0]!));
  expect((await readdir(modelsDir)).filter((name) => name.endsWith('.gguf'))).toEqual(parts);
  expect([...new Set(progress)]).toEqual([`${parts[0]} 1/2`, `${parts[1]} 2/2`]);
});

test('a split model that is renamed keeps its part numbers', async () => {
  publish({ 'm-Q4_0-00001-of-00002.gguf': gguf(30), 'm-Q4_0-00002-of-00002.gguf': gguf(30) });
  const file = await ensure({ name: 'mine' });
  expect(path.basename(file)).toBe('mine-00001-of-00002.gguf');
});

test('a different file of the same name is never overwritten', async () => {
  publish({ 'm-Q4_0.gguf': gguf(10) });
  await ensure();
  const mine = gguf(10);
  await writeFile(inModels('m-Q8_0.gguf'), mine);
  publish({ 'm-Q8_0.gguf': gguf(10) });
  await expect(ensure({}, 'hf:org/repo:Q8_0')).rejects.toThrow('exists and is a different file');
  expect((await readFile(inModels('m-Q8_0.gguf'))).equals(mine)).toBe(true);
});

test('a file with the listed checksum is used without a download', async () => {
  const body = gguf(10);
  publish({ 'm-Q4_0.gguf': body, 'm-Q8_0.gguf': gguf(5) });
  await ensure({}, 'hf:org/repo:Q8_0');
  await writeFile(inModels('m-Q4_0.gguf'), body);
  const checked: number[] = [];
  await ensure({ onProgress: ({ received }) => checked.push(received) }, 'hf:org/repo:Q4_0');
  expect(checked.at(-1)).toBe(body.length);
  expect(hub.seen.map(({ path: seen }) => seen)).not.toContain('/cdn/m-Q4_0.gguf');
});

test('contents that differ from the listed checksum are refused', async () => {
  publish({ 'm-Q4_0.gguf': gguf(100) });
  hub.files.set('/cdn/m-Q4_0.gguf', { body: gguf(100) });
  await expect(ensure()).rejects.toMatchObject({ code: 'checksum' });
  expect(await readdir(modelsDir)).toEqual([]);
});

test('an interrupted download continues in the next run', async () => {
  const body = gguf(200_000);
  publish({ 'm-Q4_0.gguf': body });
  hub.files.set('/cdn/m-Q4_0.gguf', { body, cuts: [90_000] });
  const stop = new Error('stopped');
  const controller = new AbortController();
  const onProgress: ModelOptions['onProgress'] = ({ received }) => received > 0 && controller.abort(stop);
  await expect(ensure({ signal: controller.signal, onProgress })).rejects.toBe(stop);
  await expect(ensure()).resolves.toBe(inModels('m-Q4_0.gguf'));
});

test('two requests for the same model at once fetch it once', async () => {
  publish({ 'm-Q4_0.gguf': gguf(50_000) });
  const [one, other] = await Promise.all([ensure(), ensure()]);
  expect(one).toBe(other);
  expect(hub.seen.filter(({ path: seen }) => seen === '/cdn/m-Q4_0.gguf')).toHaveLength(1);
});

test.each([
  [401, 'set HF_TOKEN'],
  [403, 'set HF_TOKEN'],
  [404, 'check the spelling'],
])('a hub that replies %d causes an error that says what to do', async (status, advice) => {
  hub.files.set(LISTING, { body: Buffer.from(''), failures: [status] });
  await expect(ensure()).rejects.toThrow(advice);
});

test('a request to a busy hub is repeated', async () => {
  publish({ 'm-Q4_0.gguf': gguf(10) });
  const listing = hub.files.get(LISTING);
  hub.files.set(LISTING, { body: listing?.body ?? Buffer.alloc(0), failures: [503, 502] });
  await expect(ensure()).resolves.toContain('m-Q4_0.gguf');
});

test('a URL is fetched, and its checksum is returned', async () => {
  const body = gguf(1000);
  hub.files.set('/dir/a.gguf?x=1', { body });
  const { files } = await obtainModel(hub.url('/dir/a.gguf?x=1'), options());
  expect(files).toEqual([{ path: inModels('a.gguf'), name: 'a.gguf', size: 1004, sha256: sha256(body) }]);
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

test('a URL without a usable name is refused with the advice --name', async () => {
  await expect(obtainModel(hub.url('/download?id=3'), options())).rejects.toThrow('--name');
  await expect(obtainModel(hub.url('/..%2Fevil.gguf'), options())).rejects.toThrow('--name');
  expect(hub.seen).toEqual([]);
});

test('a path is checked and linked, the same one twice, and another one is refused', async () => {
  const [one, other] = [path.join(folder, 'one.gguf'), path.join(folder, 'other.gguf')];
  await writeFile(one, gguf(10));
  await writeFile(other, gguf(20));
  const link = inModels('mine.gguf');
  await expect(linkModel(one, modelsDir, 'mine')).resolves.toEqual({ path: link, linked: true });
  await expect(linkModel(one, modelsDir, 'mine')).resolves.toEqual({ path: link, linked: true });
  expect((await readFile(link)).equals(await readFile(one))).toBe(true);
  await expect(linkModel(other, modelsDir, 'mine')).rejects.toThrow('exists and is a different file');
});

test('a path to another kind of file or to none is refused', async () => {
  const text = path.join(folder, 'text.gguf');
  await writeFile(text, 'text');
  await expect(linkModel(text, modelsDir, undefined)).rejects.toThrow('is not a GGUF file');
  await expect(ensure({}, path.join(folder, 'none.gguf'))).rejects.toThrow('There is no file');
});
