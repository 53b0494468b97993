import {
  checkDataFolder,
  checkOpenFiles,
  checkPort,
  checkThreads,
} from '../../../src/doctor/checks/machine.js';
import { checkedModel, facts, FILE, FOLDER, type Machine } from './fakes.js';

describe('the data folder', () => {
  const finding = (machine: Machine = {}) => checkDataFolder(facts(machine));

  it.each([
    ['ok', 50e9],
    ['warn', 0.5e9],
    ['fail', 0.05e9],
  ])('is %s with %d bytes free', async (level, bytes) => {
    expect((await finding({ probe: { freeBytes: async () => bytes } })).level).toBe(level);
  });

  it('is asked for where it will be made', async () => {
    const asked: string[] = [];
    const freeBytes = async (folder: string) => asked.push(folder) * 1e12;
    await finding({ probe: { freeBytes } });
    await finding({ probe: { freeBytes }, paths: { '/srv/data': FOLDER } });
    expect(asked).toEqual(['/srv', '/srv/data']);
  });

  it('fails when it is a file, or may not be written', async () => {
    expect(await finding({ paths: { '/srv/data': FILE } })).toMatchObject({
      level: 'fail',
      found: '/srv/data is not a folder',
    });
    const paths = { '/srv': { ...FOLDER, writable: false } };
    expect(await finding({ paths })).toMatchObject({
      level: 'fail',
      found: expect.stringContaining('/srv may not be written'),
    });
  });
});

describe('the port', () => {
  const finding = (code: string | undefined, answer?: string, server = {}) =>
    checkPort(facts({ server, probe: { tryListen: async () => code, getText: async () => answer } }));

  it('is ok when it is free', async () => {
    expect(await finding(undefined)).toEqual({ level: 'ok', found: '8000 on 127.0.0.1 is free' });
    expect((await finding(undefined, undefined, { port: 0 })).found).toBe('a free one on 127.0.0.1');
  });

  it('says when an LMServ has it', async () => {
    expect(await finding('EADDRINUSE', 'LMServ is running.')).toMatchObject({
      level: 'ok',
      found: 'an LMServ is running at http://127.0.0.1:8000',
    });
  });

  it.each([
    ['EADDRINUSE', 'taken by another program'],
    ['EACCES', 'not allowed'],
    ['EADDRNOTAVAIL', 'no address 127.0.0.1'],
    ['ENOTFOUND', 'no address 127.0.0.1'],
    ['EAFNOSUPPORT', 'cannot be listened on (EAFNOSUPPORT)'],
  ])('fails with %s', async (code, found) => {
    expect(await finding(code, 'Welcome to nginx!')).toMatchObject({
      level: 'fail',
      found: expect.stringContaining(found),
      todo: expect.any(String),
    });
  });

  it.each([
    ['0.0.0.0', 'http://127.0.0.1:8000/'],
    ['::', 'http://[::1]:8000/'],
    ['192.168.1.2', 'http://192.168.1.2:8000/'],
  ])('of %s is asked at %s', async (host, url) => {
    const asked: string[] = [];
    const getText = async (at: string) => void asked.push(at);
    await checkPort(facts({ server: { host }, probe: { tryListen: async () => 'EADDRINUSE', getText } }));
    expect(asked).toEqual([url]);
  });
});

describe('open files', () => {
  it.each([
    ['1024', 'ok'],
    ['unlimited', 'ok'],
    ['256', 'warn'],
  ])('%s are %s', async (limit, level) => {
    expect((await checkOpenFiles(facts({ programs: { sh: `${limit}\n` } }))).level).toBe(level);
  });

  it('are unknown without a shell', async () => {
    expect(await checkOpenFiles(facts({ probe: { exec: async () => undefined } }))).toEqual({
      level: 'ok',
      found: 'unknown',
    });
  });
});

describe('threads', () => {
  const finding = (cores: number, ...models: [workers: number, threads: number][]) =>
    checkThreads(
      facts({
        probe: { cores },
        server: { models: models.map(([workers, threads]) => checkedModel({ workers, threads })) },
      }),
    );

  it('are ok up to the cores', () => {
    expect(finding(4, [2, 2])).toEqual({ level: 'ok', found: '4 in 2 workers, on 4 cores' });
  });

  it('of all models together are warned of when they are more', () => {
    expect(finding(8, [2, 4], [1, 4])).toMatchObject({
      level: 'warn',
      todo: 'set LLM_THREADS (threads) to 2',
    });
    expect(finding(2, [3, 1])).toMatchObject({ level: 'warn', todo: 'lower LLM_WORKERS (workers) to 2' });
  });
});
