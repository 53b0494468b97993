import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { availableMemory } from '../../../src/memory/machine.js';
import { newFolder } from '../../support/folder.js';

const KIB = 1024;

const folder = newFolder();
let machines = 0;

/** A file system with these files. */
function machine(files: Readonly<Record<string, string>>): string {
  const root = join(folder, String((machines += 1)));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return root;
}

const meminfo = 'MemTotal:       16000 kB\nMemFree:          100 kB\nMemAvailable:    9000 kB\n';

test('what the system has available is what processes can get', () => {
  expect(availableMemory(machine({ 'proc/meminfo': meminfo }))).toBe(9000 * KIB);
});

test('the limit of a control group or of one that contains it is less, without its cached files', () => {
  const root = machine({
    'proc/meminfo': meminfo,
    'proc/self/cgroup': '0::/system.slice/lmserv.service\n',
    'sys/fs/cgroup/system.slice/memory.max': `${4000 * KIB}\n`,
    'sys/fs/cgroup/system.slice/memory.current': `${3000 * KIB}\n`,
    'sys/fs/cgroup/system.slice/memory.stat': `anon 5\nfile 99\ninactive_file ${600 * KIB}\nactive_file ${400 * KIB}\n`,
    'sys/fs/cgroup/system.slice/lmserv.service/memory.max': 'max\n',
    'sys/fs/cgroup/system.slice/lmserv.service/memory.current': '1\n',
  });
  expect(availableMemory(root)).toBe(2000 * KIB);
});

test('so is that of the first version of control groups', () => {
  const root = machine({
    'proc/meminfo': meminfo,
    'proc/self/cgroup': '5:cpu,cpuacct:/x\n4:memory:/docker/1\n',
    'sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes': `${4000 * KIB}\n`,
    'sys/fs/cgroup/memory/docker/1/memory.usage_in_bytes': `${3000 * KIB}\n`,
    'sys/fs/cgroup/memory/docker/1/memory.stat': `total_inactive_file ${500 * KIB}\ntotal_active_file 0\n`,
  });
  expect(availableMemory(root)).toBe(1500 * KIB);
});

test('a group over its limit has nothing left', () => {
  const root = machine({
    'proc/meminfo': meminfo,
    'proc/self/cgroup': '0::/\n',
    'sys/fs/cgroup/memory.max': '100\n',
    'sys/fs/cgroup/memory.current': '200\n',
  });
  expect(availableMemory(root)).toBe(0);
});

test('a system without /proc does not tell', () => {
  expect(availableMemory(machine({}))).toBeUndefined();
});
