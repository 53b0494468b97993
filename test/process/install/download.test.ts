import { createHash, randomBytes } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { download, type DownloadOptions } from '../../../src/install/download/download.js';
import { FileServer } from './support/file-server.js';
import { temporaryFolder } from './support/temp.js';

const body = randomBytes(300_000);
const digest = createHash('sha256').update(body).digest('hex');
const integrity = { algorithm: 'sha256', digest } as const;

let server: FileServer;
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let to: string;

beforeEach(async () => {
  server = await FileServer.start();
  folder = await temporaryFolder();
  to = path.join(folder.path, 'model.gguf');
});
afterEach(async () => {
  await server.stop();
  await folder.remove();
});

const fetchFile = (options: Partial<DownloadOptions> = {}) =>
  download({ url: server.url('/file'), to, backoffMs: 1, ...options });
const ranges = () => server.seen.map(({ range }) => range);

/** Breaks the connection once some bytes have come. */
const cutWhenReceiving = ({ received }: { received: number }) => {
  if (received > 0) server.cut();
};

/** Leaves a part behind by giving up at the first broken connection. */
async function interrupt(after: number, etag?: string): Promise<void> {
  server.files.set('/file', { body, cuts: [after], ...(etag ? { etag } : {}) });
  await expect(fetchFile({ attempts: 1, onProgress: cutWhenReceiving })).rejects.toMatchObject({
    code: 'network',
  });
}

const partLength = async () => (await readFile(`${to}.part`)).length;

test('a whole file is put in place with its checksum, and nothing else is left', async () => {
  server.files.set('/file', { body });
  await expect(fetchFile()).resolves.toEqual({ path: to, bytes: body.length, digest });
  expect((await readFile(to)).equals(body)).toBe(true);
  expect(await readdir(folder.path)).toEqual(['model.gguf']);
});

test('progress goes up to the total', async () => {
  server.files.set('/file', { body });
  const seen: Array<[number, number | undefined]> = [];
  await fetchFile({ onProgress: ({ received, total }) => seen.push([received, total]) });
  expect(seen[0]).toEqual([0, body.length]);
  expect(seen.at(-1)).toEqual([body.length, body.length]);
});

test('after a broken connection it goes on where it stopped', async () => {
  server.files.set('/file', { body, etag: '"1"', cuts: [100_000] });
  const cutOnce = ({ received }: { received: number }) => {
    if (received > 0 && server.seen.length === 1) server.cut();
  };
  await expect(fetchFile({ onProgress: cutOnce })).resolves.toMatchObject({ digest });
  const [first, second] = ranges();
  expect(first).toBeUndefined();
  expect(second).toMatch(/^bytes=[1-9]\d*-$/);
});

test('a later run goes on with the part of an earlier one, whose hash counts too', async () => {
  await interrupt(120_000, '"1"');
  const kept = await partLength();
  await expect(fetchFile()).resolves.toMatchObject({ digest, bytes: body.length });
  expect(kept).toBeGreaterThan(0);
  expect(ranges()).toEqual([undefined, `bytes=${kept}-`]);
});

test('when the file has changed since, it starts over', async () => {
  await interrupt(120_000, '"1"');
  const changed = randomBytes(200_000);
  server.files.set('/file', { body: changed, etag: '"2"' });
  await fetchFile();
  expect((await readFile(to)).equals(changed)).toBe(true);
});

test('without an ETag or checksum to go by a part is not trusted', async () => {
  await interrupt(120_000);
  await fetchFile();
  expect(ranges()).toEqual([undefined, undefined]);
});

test('a part that is of something else is noticed by the checksum and fetched anew', async () => {
  await writeFile(`${to}.part`, randomBytes(1000));
  server.files.set('/file', { body });
  await expect(fetchFile({ integrity })).resolves.toMatchObject({ digest });
  expect(ranges()).toEqual(['bytes=1000-', undefined]);
});

test('a part that is already whole costs no second download', async () => {
  await writeFile(`${to}.part`, body);
  server.files.set('/file', { body });
  await expect(fetchFile({ integrity })).resolves.toMatchObject({ digest });
  await writeFile(`${to}.part`, body);
  await fetchFile({ integrity, size: body.length });
  expect(ranges()).toEqual([`bytes=${body.length}-`]);
});

test('a wrong checksum leaves neither file nor part', async () => {
  server.files.set('/file', { body });
  const wrong = { algorithm: 'sha256', digest: '0'.repeat(64) } as const;
  await expect(fetchFile({ integrity: wrong })).rejects.toMatchObject({ code: 'checksum' });
  expect(await readdir(folder.path)).toEqual([]);
});

test('a body that ends early is not taken for whole', async () => {
  server.files.set('/file', { body, truncateTo: 1000 });
  await expect(fetchFile({ attempts: 2, size: body.length })).rejects.toMatchObject({ code: 'network' });
  expect(await readdir(folder.path)).not.toContain('model.gguf');
  expect(server.seen).toHaveLength(2);
});

test('a busy server is asked again, a missing file is not', async () => {
  server.files.set('/file', { body, failures: [503, 429, 500] });
  await expect(fetchFile()).resolves.toMatchObject({ digest });
  await expect(fetchFile({ url: server.url('/none') })).rejects.toMatchObject({ code: 'http', status: 404 });
  expect(server.seen.map(({ path: seen }) => seen)).toEqual(['/file', '/file', '/file', '/file', '/none']);
});

test('it gives up after as many failures as it was told', async () => {
  server.files.set('/file', { body, failures: [503, 503, 503, 503] });
  await expect(fetchFile({ attempts: 3 })).rejects.toMatchObject({ status: 503 });
  expect(server.seen).toHaveLength(3);
});

test('a redirect to another host gets no credentials, one to the same host does', async () => {
  server.files.set('/file', { body });
  server.redirects.set('/away', server.url('/file', 'localhost'));
  server.redirects.set('/near', server.url('/file'));
  const headers = { authorization: 'Bearer secret' };
  await fetchFile({ url: server.url('/away'), headers });
  await fetchFile({ url: server.url('/near'), headers });
  expect(server.seen.map(({ path: seen, authorization }) => [seen, authorization])).toEqual([
    ['/away', 'Bearer secret'],
    ['/file', undefined],
    ['/near', 'Bearer secret'],
    ['/file', 'Bearer secret'],
  ]);
});

test('messages carry neither credentials nor queries of the address', async () => {
  const url = server.url('/none?token=secret').replace('http://', 'http://user:password@');
  const failure = fetchFile({ url });
  await expect(failure).rejects.toThrow('/none returned 404');
  await expect(failure).rejects.not.toThrow(/secret|password/);
});

test('an endless redirect ends', async () => {
  for (let hop = 0; hop < 20; hop += 1) server.redirects.set(`/hop${hop}`, server.url(`/hop${hop + 1}`));
  await expect(fetchFile({ url: server.url('/hop0') })).rejects.toThrow('redirects more than 10 times');
  expect(server.seen).toHaveLength(11);
});

test.each([
  ['itself', () => server.url('/from')],
  ['an address that is none', () => 'http://['],
  ['another protocol', () => 'ftp://127.0.0.1/file'],
])('a redirect to %s is refused at once', async (_, target) => {
  server.redirects.set('/from', target());
  await expect(fetchFile({ url: server.url('/from') })).rejects.toMatchObject({
    code: 'http',
    message: expect.stringContaining('to an address that cannot be used, or in a loop'),
  });
  expect(server.seen).toHaveLength(1);
});

test('a relative redirect is followed', async () => {
  server.files.set('/file', { body });
  server.redirects.set('/from', 'file');
  await expect(fetchFile({ url: server.url('/from') })).resolves.toMatchObject({ digest });
});

test('more than the disk holds is refused before anything is written', async () => {
  server.files.set('/file', { body });
  await expect(fetchFile({ size: 1e18 })).rejects.toMatchObject({ code: 'disk_full' });
  expect(await readdir(folder.path)).toEqual([]);
});

test('interrupted, it keeps the part', async () => {
  server.files.set('/file', { body, etag: '"1"' });
  const controller = new AbortController();
  const stop = new Error('stopped');
  const onProgress = ({ received }: { received: number }) => received > 0 && controller.abort(stop);
  await expect(fetchFile({ signal: controller.signal, onProgress })).rejects.toBe(stop);
  await expect(fetchFile()).resolves.toMatchObject({ digest });
});
