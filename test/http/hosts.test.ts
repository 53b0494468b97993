import { chmodSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import request from 'supertest';
import { fullName } from '../../src/http/host-check.js';
import { testApp } from '../support/app.js';
import { emptyFolder } from '../support/folder.js';

const own = hostname();
const allowedHosts = ['*.ts.net', 'Lmserv', 'full.example.', 'bücher.lan'];
const app = testApp({
  allowedHosts,
  corsOrigins: ['app://obsidian.md', 'https://*.example.lan', 'app://*.x.md'],
});

test.each([
  ...'host.docker.internal:8000 gateway.docker.internal host.containers.internal localhost.'.split(' '),
  ...`localhost.:8000 ${own}. ${own}.local. lmserv:8000 box.tailnet.ts.net box.ts.net.`.split(' '),
  ...'full.example xn--bcher-kva.lan'.split(' '),
])('Host %s is served', async (host) => {
  await request(app).get('/health').set('Host', host).expect(200);
});

test.each([
  ...'host.docker.internal.evil.example evil.docker.internal docker.internal localhost.. .'.split(' '),
  ...`${own}.evil.example evil.${own} ts.net .ts.net evilts.net box.ts.net.evil.example`.split(' '),
  'lmserv.evil.example',
])('Host %s is 421, and the message names ALLOWED_HOSTS', async (host) => {
  const response = await request(app).get('/health').set('Host', host).expect(421);
  expect(response.body.error).toMatchObject({
    code: 'misdirected_request',
    message: expect.stringContaining('ALLOWED_HOSTS'),
  });
});

test('a request with a name that is still being found out waits for it', async () => {
  let found!: (names: string[]) => void;
  const ownNames = new Promise<string[]>((resolve) => (found = resolve));
  const starting = testApp({ ownNames });
  await request(starting).get('/health').expect(200);
  const early = request(starting).get('/health').set('Host', 'Box.corp.example.').expect(200);
  const strange = request(starting).get('/health').set('Host', 'evil.example').expect(421);
  setImmediate(() => found(['box.corp.example']));
  await Promise.all([early, strange]);
});

test.each([
  ['app://obsidian.md', true],
  ['https://a.example.lan', true],
  ['https://a.b.example.lan', true],
  ['app://y.x.md', true],
  ['https://example.lan', false],
  ['https://evilexample.lan', false],
  ['https://a.example.lan.evil.example', false],
  ['https://a.exampleXlan', false],
  ['http://a.example.lan', false],
  ['https://a.example.lan:8443', false],
  ['app://obsidian.md.evil', false],
  ['app://obsidianXmd', false],
  ['null', false],
])('origin %s may read replies: %s', async (origin, allowed) => {
  const { headers } = await request(app).get('/health').set('Origin', origin);
  expect(headers['access-control-allow-origin']).toBe(allowed ? origin : undefined);
});

describe('the full name of this machine', () => {
  const folder = emptyFolder();

  test.each([
    ['is what the system says', 'test "$1" = -f && echo box.corp.example', ['box.corp.example']],
    ['is none if the system fails', 'echo box.corp.example; exit 1', []],
    ['is none if the system knows none', 'echo', []],
  ])('%s', async (_title, script, names) => {
    const program = join(folder, 'hostname');
    writeFileSync(program, `#!/bin/sh\n${script}\n`);
    chmodSync(program, 0o755);
    expect(await fullName(program)).toEqual(names);
  });

  test('is none without such a program', async () => {
    expect(await fullName(join(folder, 'missing'))).toEqual([]);
  });
});
