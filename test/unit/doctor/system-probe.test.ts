import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createSocketServer, type AddressInfo, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemProbe } from '../../../src/doctor/probe.js';

const probe = systemProbe({ PATH: process.env.PATH, API_KEY: 'canary', CUDA_VISIBLE_DEVICES: '3' });

let folder: string;
beforeAll(() => (folder = mkdtempSync(join(tmpdir(), 'doctor-'))));
afterAll(() => rmSync(folder, { recursive: true }));

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

it('knows the memory of the machine', () => {
  const { total, free, limit } = probe.memory;
  expect(total).toBeGreaterThan(free);
  expect(limit ?? 1).toBeGreaterThan(0);
  expect(limit ?? 0).toBeLessThan(total);
});

it('runs programs without the secrets of the environment', async () => {
  const output = await probe.exec('env', []);
  expect(output).toContain('CUDA_VISIBLE_DEVICES=3');
  expect(output).not.toContain('canary');
});

it.each([
  ['is missing', '/no/such/program', []],
  ['fails', 'sh', ['-c', 'exit 3']],
])('tells of a program that %s by undefined', async (_how, file, args) => {
  expect(await probe.exec(file, args)).toBeUndefined();
});

it('looks at paths', async () => {
  const file = join(folder, 'file');
  writeFileSync(file, '12345', { mode: 0o640 });
  mkdirSync(join(folder, 'folder'));
  expect(await probe.stat(file)).toEqual({
    kind: 'file',
    size: 5,
    mode: 0o640,
    readable: true,
    writable: true,
  });
  expect(await probe.stat(join(folder, 'folder'))).toMatchObject({ kind: 'folder' });
  expect(await probe.stat(join(folder, 'none'))).toBeUndefined();
  expect(await probe.stat(join(file, 'below'))).toBeUndefined();
  expect((await probe.readHead(file, 3)).toString()).toBe('123');
  expect((await probe.readHead(file, 99)).toString()).toBe('12345');
  expect(await probe.readText(file)).toBe('12345');
});

it('does not wait for a device that never ends', async () => {
  await expect(probe.readText('/dev/zero')).rejects.toThrow('not a regular file');
  expect(await probe.readHead('/dev/zero', 100)).toHaveLength(0);
});

it('tries to listen and lets go again', async () => {
  const server = createSocketServer();
  const port = await listening(server);
  expect(await probe.tryListen('127.0.0.1', port)).toBe('EADDRINUSE');
  server.close();
  await once(server, 'close');
  expect(await probe.tryListen('127.0.0.1', port)).toBeUndefined();
  expect(await probe.tryListen('127.0.0.1', port)).toBeUndefined();
});

it('reads the beginning of an answer, however long it is', async () => {
  const server = createServer((_request, response) => {
    response.write('LMServ is running.');
    const timer = setInterval(() => response.write('x'.repeat(1000)), 1);
    response.on('close', () => clearInterval(timer));
  });
  const port = await listening(server);
  expect(await probe.getText(`http://127.0.0.1:${port}/`)).toMatch(/^LMServ is running\.x/);
  server.close();
});

it('reads JSON for a key, and nothing where that is refused', async () => {
  const server = createServer((request, response) => {
    response.writeHead(request.headers['x-api-key'] === 'good' ? 200 : 401).end('{"a":1}');
  });
  const url = `http://127.0.0.1:${await listening(server)}/v1/models`;
  expect(await probe.getJson(url, 'good')).toEqual({ a: 1 });
  expect(await probe.getJson(url, 'bad')).toBeUndefined();
  server.close();
});

it('does not wait for one who takes the connection and says nothing', async () => {
  const server = createSocketServer();
  const port = await listening(server);
  expect(await probe.getText(`http://127.0.0.1:${port}/`)).toBeUndefined();
  server.close();
});
