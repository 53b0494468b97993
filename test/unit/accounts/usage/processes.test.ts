/** Real processes, on the compiled sources, share the usage file or are killed while using it. */

import { once } from 'node:events';
import { join } from 'node:path';
import { openUsageStore } from '../../../../src/accounts/usage/store.js';
import { newFolder } from '../../../support/folder.js';
import {
  compileSources,
  entry,
  nextMessage,
  requestsOnDisk,
  rowsOf,
  runScript,
  startScript,
} from './helpers.js';

const folder = newFolder();
beforeAll(() => compileSources(['src', 'src/accounts/usage'], folder));

const open = (file: string) => openUsageStore({ file, onError: (error) => expect(error).toBeUndefined() });

/** The beginning of a script that uses the file. */
const opening = (file: string): string => `
  import { openUsageStore } from './src/accounts/usage/store.js';
  import Database from 'libsql';
  const file = ${JSON.stringify(file)};
  const errors = [];
  const store = openUsageStore({ file, flushMs: 20, onError: (error) => errors.push(error.message) });
  const record = () => store.record(${JSON.stringify(entry())});`;

test('three processes that create and share one file lose no count', async () => {
  const file = join(folder, 'shared.sqlite');
  const script = `${opening(file)}
    for (let i = 0; i < 600; i += 1) {
      record();
      // Yielding now and then lets the timed flushes of the three meet.
      if (i % 10 === 0) await new Promise((done) => setImmediate(done));
      if (i % 50 === 0) [...store.pages()];
    }
    store.close();`;
  await Promise.all([1, 2, 3].map(() => runScript(folder, script)));
  const store = open(file);
  expect(rowsOf(store)).toMatchObject([
    { requests: 1800, promptTokens: 18_000, completionTokens: 9_000, costNano: 180_000 },
  ]);
  store.close();
});

test('a process killed with SIGKILL loses nothing recorded before the last flush', async () => {
  const file = join(folder, 'killed.sqlite');
  const child = startScript(
    folder,
    `${opening(file)}
    for (let i = 0; i < 250; i += 1) record();
    const look = new Database(file);
    const rows = look.prepare('SELECT total(requests) FROM usage').raw();
    const wait = () => rows.get()[0] === 250 ? process.send('written') : setImmediate(wait);
    wait();
    setInterval(() => {}, 1e6);`,
  );
  await nextMessage(child);
  child.kill('SIGKILL');
  expect(await once(child, 'exit')).toEqual([null, 'SIGKILL']);
  const store = open(file);
  expect(rowsOf(store)).toMatchObject([{ requests: 250, costNano: 25_000 }]);
  store.close();
});

test('a process killed with SIGKILL while writing leaves whole transactions and a file that opens', async () => {
  const file = join(folder, 'torn.sqlite');
  const child = startScript(
    folder,
    `${opening(file)}
    const pair = () => {
      for (const tenant of ['a', 'b']) store.record({ ...${JSON.stringify(entry())}, tenant });
      [...store.pages()];
      process.send('pair');
      setImmediate(pair);
    };
    pair();`,
  );
  for (let pairs = 0; pairs < 50; pairs += 1) await nextMessage(child);
  child.kill('SIGKILL');
  await once(child, 'exit');
  const store = open(file);
  const [a, b] = rowsOf(store);
  expect(a?.requests).toBeGreaterThanOrEqual(50);
  expect(b?.requests).toBe(a?.requests);
  store.close();
  expect(requestsOnDisk(file)).toBe(2 * a!.requests);
});

test('an open store does not keep a process alive', async () => {
  const file = join(folder, 'idle.sqlite');
  // Without a close the script ends only if the flush timer does not keep it alive.
  const printed = await runScript(folder, `${opening(file)} record(); console.log('end');`);
  expect(printed).toBe('end\n');
});

test('counts made while the disk is full are written once when there is room again', async () => {
  const file = join(folder, 'full.sqlite');
  const child = startScript(
    folder,
    `import { execFileSync } from 'node:child_process';
    ${opening(file)}
    // The maximum size of any file of this process, raised again later.
    const limit = (bytes) => execFileSync('prlimit', ['--pid', String(process.pid), '--fsize=' + bytes + ':']);
    limit(65536);
    for (let i = 0; i < 2000; i += 1) store.record({ ...${JSON.stringify(entry())}, tenant: 'tenant ' + i });
    const look = setInterval(() => {
      if (errors.length === 0) return;
      clearInterval(look);
      process.send({ rows: store.backlog.rows, errors });
      limit('unlimited');
    }, 5);
    const end = setInterval(() => {
      if (store.backlog.rows > 0 || errors.length === 0) return;
      clearInterval(end);
      store.close();
      process.disconnect();
    }, 5);`,
  );
  const full = (await nextMessage(child)) as { rows: number; errors: string[] };
  expect(full.rows).toBeGreaterThan(0);
  expect(full.errors).toEqual([expect.stringMatching(/kept in memory \(SQLITE_(FULL|IOERR)/)]);
  expect(await once(child, 'exit')).toEqual([0, null]);
  expect(requestsOnDisk(file)).toBe(2000);
});
