import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemProbe } from '../../../src/doctor/probe.js';
import { HttpServer } from '../../harness/http-server.js';
import { serve } from '../../support/fake-server.js';
import { newFolder } from '../../support/folder.js';

const probe = systemProbe({ PATH: process.env.PATH, API_KEY: 'canary', CUDA_VISIBLE_DEVICES: '3' });
const folder = newFolder();

test('the probe knows the memory of the machine', () => {
  const { total, free, limit } = probe.memory;
  expect(total).toBeGreaterThan(free);
  expect(limit ?? 1).toBeGreaterThan(0);
  expect(limit ?? 0).toBeLessThan(total);
});

test('programs run without the secrets of the environment', async () => {
  const output = await probe.exec('env', []);
  expect(output).toContain('CUDA_VISIBLE_DEVICES=3');
  expect(output).not.toContain('canary');
});

test.each([
  ['is missing', '/no/such/program', []],
  ['fails', 'sh', ['-c', 'exit 3']],
])('a program that %s gives undefined', async (_, file, args) => {
  expect(await probe.exec(file, args)).toBeUndefined();
});

test('paths are examined, and files are read in whole or in part', async () => {
  const file = join(folder, 'file');
  writeFileSync(file, '12345', { mode: 0o640 });
  mkdirSync(join(folder, 'folder'));
  const facts = { kind: 'file', size: 5, mode: 0o640, readable: true, writable: true };
  expect(await probe.stat(file)).toEqual(facts);
  expect(await probe.stat(join(folder, 'folder'))).toMatchObject({ kind: 'folder' });
  expect(await probe.stat(join(folder, 'none'))).toBeUndefined();
  expect(await probe.stat(join(file, 'below'))).toBeUndefined();
  expect((await probe.readHead(file, 3)).toString()).toBe('123');
  expect((await probe.readHead(file, 99)).toString()).toBe('12345');
  expect(await probe.readText(file)).toBe('12345');
});

test('a device that never ends is not read', async () => {
  await expect(probe.readText('/dev/zero')).rejects.toThrow('not a regular file');
  expect(await probe.readHead('/dev/zero', 100)).toHaveLength(0);
});

test('tryListen reports a port in use and releases a free one', async () => {
  const server = await HttpServer.start(() => undefined);
  const { port } = server;
  expect(await probe.tryListen('127.0.0.1', port)).toBe('EADDRINUSE');
  await server.stop();
  expect(await probe.tryListen('127.0.0.1', port)).toBeUndefined();
  expect(await probe.tryListen('127.0.0.1', port)).toBeUndefined();
});

test('getText reads the beginning of an endless response', async () => {
  const url = await serve((_request, response) => {
    response.write('LMServ is running.');
    const timer = setInterval(() => response.write('x'.repeat(1000)), 1);
    response.on('close', () => clearInterval(timer));
  });
  expect(await probe.getText(`${url}/`)).toMatch(/^LMServ is running\.x/);
});

test('getJson reads JSON for a key, and nothing where that is refused', async () => {
  const url = await serve((request, response) => {
    response.writeHead(request.headers['x-api-key'] === 'good' ? 200 : 401).end('{"a":1}');
  });
  expect(await probe.getJson(`${url}/v1/models`, 'good')).toEqual({ a: 1 });
  expect(await probe.getJson(`${url}/v1/models`, 'bad')).toBeUndefined();
});

test('getText does not wait for a server that says nothing', async () => {
  expect(await probe.getText(`${await serve(() => undefined)}/`)).toBeUndefined();
});
