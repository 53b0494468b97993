import { createHash, randomBytes } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { download, type DownloadOptions } from '../../../src/install/download/download.js';
import { emptyFolder } from '../../support/folder.js';
import { FileServer } from '../support/file-server.js';

const body = randomBytes(300_000);
const digest = createHash('sha256').update(body).digest('hex');
const integrity = { algorithm: 'sha256', digest } as const;

let server: FileServer;
const folder = emptyFolder();
const to = path.join(folder, 'model.gguf');

beforeEach(async () => {
  server = await FileServer.start();
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

test('a whole file gets its place and its checksum, and nothing else is left', async () => {
  server.files.set('/file', { body });
  await expect(fetchFile()).resolves.toEqual({ path: to, bytes: body.length, digest });
  expect((await readFile(to)).equals(body)).toBe(true);
  expect(await readdir(folder)).toEqual(['model.gguf']);
});

test('progress goes up to the total', async () => {
  server.files.set('/file', { body });
  const seen: Array<[number, number | undefined]> = [];
  await fetchFile({ onProgress: ({ received, total }) => seen.push([received, total]) });
  expect(seen[0]).toEqual([0, body.length]);
  expect(seen.at(-1)).toEqual([body.length, body.length]);
});

test('a download continues where a broken connection stopped it', async () => {
  server.files.set('/file', { body, etag: '"1"', cuts: [100_000] });
  const cutOnce = ({ received }: { received: number }) => {
    if (received > 0 && server.seen.length === 1) server.cut();
  };
  await expect(fetchFile({ onProgress: cutOnce })).resolves.toMatchObject({ digest });
  const [first, second] = ranges();
  expect(first).toBeUndefined();
  expect(second).toMatch(/^bytes=[1-9]\d*-$/);
});

test('a later run continues the part of an earlier one and includes it in the digest', async () => {
  await interrupt(120_000, '"1"');
  const kept = await partLength();
  await expect(fetchFile()).resolves.toMatchObject({ digest, bytes: body.length });
  expect(kept).toBeGreaterThan(0);
  expect(ranges()).toEqual([undefined, `bytes=${kept}-`]);
});

test('a part of a file that has changed since is fetched again', async () => {
  await interrupt(120_000, '"1"');
  const changed = randomBytes(200_000);
  server.files.set('/file', { body: changed, etag: '"2"' });
  await fetchFile();
  expect((await readFile(to)).equals(changed)).toBe(true);
});

test('a part without an ETag or a checksum is not trusted', async () => {
  await interrupt(120_000);
  await fetchFile();
  expect(ranges()).toEqual([undefined, undefined]);
});

test('a part of another file is detected by the checksum and fetched again', async () => {
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
  expect(await readdir(folder)).toEqual([]);
});

test('a body that ends early is an error', async () => {
  server.files.set('/file', { body, truncateTo: 1000 });
  await expect(fetchFile({ attempts: 2, size: body.length })).rejects.toMatchObject({ code: 'network' });
  expect(await readdir(folder)).not.toContain('model.gguf');
  expect(server.seen).toHaveLength(2);
});

test('a busy server is asked again, a missing file is not', async () => {
  server.files.set('/file', { body, failures: [503, 429, 500] });
  await expect(fetchFile()).resolves.toMatchObject({ digest });
  await expect(fetchFile({ url: server.url('/none') })).rejects.toMatchObject({ code: 'http', status: 404 });
  expect(server.seen.map(({ path: seen }) => seen)).toEqual(['/file', '/file', '/file', '/file', '/none']);
});

test('a download gives up after `attempts` failures', async () => {
  server.files.set('/file', { body, failures: [503, 503, 503, 503] });
  await expect(fetchFile({ attempts: 3 })).rejects.toMatchObject({ status: 503 });
  expect(server.seen).toHaveLength(3);
});

test('a redirect to the same host gets the credentials, one to another host does not', async () => {
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

test('messages contain neither credentials nor the query of the address', async () => {
  const url = server.url('/none?token=secret').replace('http://', 'http://user:password@');
  const failure = fetchFile({ url });
  await expect(failure).rejects.toThrow('/none returned 404');
  await expect(failure).rejects.not.toThrow(/secret|password/);
});

test('a redirect is followed at most 10 times', async () => {
  for (let hop = 0; hop < 20; hop += 1) server.redirects.set(`/hop${hop}`, server.url(`/hop${hop + 1}`));
  await expect(fetchFile({ url: server.url('/hop0') })).rejects.toThrow('redirects more than 10 times');
  expect(server.seen).toHaveLength(11);
});

test.each([
  ['itself', () => server.url('/from')],
  ['an invalid address', () => 'http://['],
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

test('a file larger than the disk is refused before anything is written', async () => {
  server.files.set('/file', { body });
  await expect(fetchFile({ size: 1e18 })).rejects.toMatchObject({ code: 'disk_full' });
  expect(await readdir(folder)).toEqual([]);
});

test('an interrupted download keeps its part', async () => {
  server.files.set('/file', { body, etag: '"1"' });
  const controller = new AbortController();
  const stop = new Error('stopped');
  const onProgress = ({ received }: { received: number }) => received > 0 && controller.abort(stop);
  await expect(fetchFile({ signal: controller.signal, onProgress })).rejects.toBe(stop);
  await expect(fetchFile()).resolves.toMatchObject({ digest });
});
