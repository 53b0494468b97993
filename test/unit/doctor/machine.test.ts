import {
  checkDataFolder,
  checkOpenFiles,
  checkPort,
  checkThreads,
} from '../../../src/doctor/checks/machine.js';
import { ok, type Finding } from '../../../src/doctor/findings.js';
import { checkedModel, facts, FILE, FOLDER, having, like, testCheck, type Machine } from './fakes.js';

const free = (bytes: number): Machine => ({ probe: { freeBytes: async () => bytes } });

testCheck('the data folder', checkDataFolder, [
  ['is ok with 50 GB free', free(50e9), having('ok')],
  ['causes a warning with 0.5 GB free', free(0.5e9), having('warn')],
  ['fails with 0.05 GB free', free(0.05e9), having('fail')],
  ['fails when it is a file', { paths: { '/srv/data': FILE } }, having('fail', '/srv/data is not a folder')],
  [
    'fails when it may not be written',
    { paths: { '/srv': { ...FOLDER, writable: false } } },
    having('fail', like('/srv may not be written')),
  ],
]);

test('the data folder is measured where it is or will be created', async () => {
  const measured: string[] = [];
  const freeBytes = async (folder: string) => measured.push(folder) * 1e12;
  await checkDataFolder(facts({ probe: { freeBytes } }));
  await checkDataFolder(facts({ probe: { freeBytes }, paths: { '/srv/data': FOLDER } }));
  expect(measured).toEqual(['/srv', '/srv/data']);
});

const port = (code: string | undefined, text?: string): Machine => ({
  probe: { tryListen: async () => code, getText: async () => text },
});
const unusable = (code: string, found: string): [string, Machine, Finding] => [
  `fails with ${code}`,
  port(code, 'Welcome to nginx!'),
  having('fail', like(found), expect.any(String)),
];

testCheck('the port', checkPort, [
  ['is ok when it is free', port(undefined), ok('8000 on 127.0.0.1 is free')],
  ['may be any', { server: { port: 0 } }, having('ok', 'a free one on 127.0.0.1')],
  [
    'is ok when an LMServ uses it',
    port('EADDRINUSE', 'LMServ is running.'),
    having('ok', 'an LMServ is running at http://127.0.0.1:8000'),
  ],
  unusable('EADDRINUSE', 'taken by another program'),
  unusable('EACCES', 'not allowed'),
  unusable('EADDRNOTAVAIL', 'no address 127.0.0.1'),
  unusable('ENOTFOUND', 'no address 127.0.0.1'),
  unusable('EAFNOSUPPORT', 'cannot be listened on (EAFNOSUPPORT)'),
]);

test.each([
  ['0.0.0.0', 'http://127.0.0.1:8000/'],
  ['::', 'http://[::1]:8000/'],
  ['192.168.1.2', 'http://192.168.1.2:8000/'],
])('the port of %s is requested at %s', async (host, url) => {
  const urls: string[] = [];
  const getText = async (at: string) => void urls.push(at);
  await checkPort(facts({ server: { host }, probe: { tryListen: async () => 'EADDRINUSE', getText } }));
  expect(urls).toEqual([url]);
});

testCheck('the limit of open files', checkOpenFiles, [
  ['of 1024 is ok', { programs: { sh: '1024\n' } }, having('ok')],
  ['may be unlimited', { programs: { sh: 'unlimited\n' } }, having('ok')],
  ['of 256 causes a warning', { programs: { sh: '256\n' } }, having('warn')],
  ['is unknown without a shell', { probe: { exec: async () => undefined } }, ok('unknown')],
]);

const threads = (cores: number, ...models: [workers: number, threads: number][]): Machine => ({
  probe: { cores },
  server: { models: models.map(([workers, threads]) => checkedModel({ workers, threads })) },
});

testCheck('threads', checkThreads, [
  ['are ok up to the number of cores', threads(4, [2, 2]), ok('4 in 2 workers, on 4 cores')],
  [
    'of all models together cause a warning beyond the cores',
    threads(8, [2, 4], [1, 4]),
    having('warn', undefined, 'set LLM_THREADS (threads) to 2'),
  ],
  [
    'of too many workers cause a warning',
    threads(2, [3, 1]),
    having('warn', undefined, 'lower LLM_WORKERS (workers) to 2'),
  ],
]);
