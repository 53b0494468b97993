import { statSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { UsageTable } from '../../../../src/accounts/usage/database.js';
import { openUsageStore } from '../../../../src/accounts/usage/store.js';
import { emptyFolder } from '../../../support/folder.js';
import { entry } from './helpers.js';

const folder = emptyFolder();
const file = join(folder, 'usage.sqlite');
const size = () => statSync(file).size;

test('Writing leaves the log alone, however long it gets; a checkpoint moves it into the file', async () => {
  const table = new UsageTable(file);
  const before = size();
  const counts = { requests: 1n, promptTokens: 1n, completionTokens: 1n, costNano: 1n };
  const row = {
    key: 'k',
    model: 'm',
    day: '2025-03-01',
    counts: { ...counts, cancelled: 0n, broken: 0n, refused: 0n },
  };
  // More than the 1,000 pages at which SQLite would do it by itself.
  for (let batch = 0; batch < 20; batch += 1)
    table.add(
      Array.from({ length: 1_000 }, (_, index) => ({
        ...row,
        tenant: `${batch} ${index} ${'x'.repeat(80)}`,
      })),
    );
  expect(statSync(`${file}-wal`).size).toBeGreaterThan(1_000 * 4_096);
  expect(size()).toBe(before);
  await table.checkpointIfDue();
  expect(size()).toBeGreaterThan(1_000 * 4_096);
  table.close();
  expect(statSync(`${file}-wal`, { throwIfNoEntry: false })?.size ?? 0).toBe(0);
});

test('A store that has written many rows moves its log into the file while it is open', async () => {
  const store = openUsageStore({ file, flushMs: 1, onError: (error) => expect(error).toBeUndefined() });
  const before = size();
  for (let index = 0; index < 1_000; index += 1) store.record(entry({ tenant: `tenant ${index}` }));
  while (size() === before) await setImmediate();
  store.close();
});
