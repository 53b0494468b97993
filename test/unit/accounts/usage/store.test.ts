import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import Database from 'libsql';
import { migrate, MIGRATIONS, UsageFileError, UsageTable } from '../../../../src/accounts/usage/database.js';
import { openUsageStore, type UsageStore } from '../../../../src/accounts/usage/store.js';
import { emptyFolder, modeOf } from '../../../support/folder.js';
import {
  entry,
  execute,
  FakeDate,
  firstRow,
  plain,
  requestsOnDisk,
  rowsOf,
  withDatabase,
} from './helpers.js';

const folder = emptyFolder();
const file = join(folder, 'usage.sqlite');
const date = new FakeDate();
const open: UsageStore[] = [];
let errors: Error[];
let recovered: string[];
let store: UsageStore;

beforeEach(() => {
  date.set('2025-03-01T10:00:00Z');
  [errors, recovered] = [[], []];
});
afterEach(() => {
  jest.restoreAllMocks();
  jest.useRealTimers();
  for (const each of open.splice(0)) each.close();
});

function openStore(path = file): UsageStore {
  const opened = openUsageStore({
    file: path,
    now: date.now,
    onError: (error) => errors.push(error),
    onRecovery: (message) => recovered.push(message),
  });
  open.push(opened);
  return opened;
}

const costOf = (of: UsageStore, tenant = 'acme'): bigint => of.spent('tenant', tenant).day.costNano;
const messages = (): string[] => errors.map((error) => error.message);

describe('counting', () => {
  beforeEach(() => (store = openStore()));

  test('adds up per tenant, model and day for every outcome', () => {
    store.record(entry());
    store.record(entry({ outcome: 'cancelled', completionTokens: 2, costNano: 40 }));
    store.record(entry({ outcome: 'broken', key: 'other-key' }));
    store.record(entry({ outcome: 'refused', promptTokens: 0, completionTokens: 0, costNano: 0 }));
    store.record(entry({ model: 'big' }));
    store.record(entry({ tenant: 'zeta' }));
    date.set('2025-03-02T00:00:00Z');
    store.record(entry());
    const one = { requests: 1, promptTokens: 10, completionTokens: 5, costNano: 100 };
    const fine = { cancelled: 0, broken: 0, refused: 0 };
    const four = { requests: 4, promptTokens: 30, completionTokens: 12, costNano: 240 };
    expect(rowsOf(store)).toEqual([
      { tenant: 'acme', model: 'big', day: '2025-03-01', ...one, ...fine },
      { tenant: 'acme', model: 'm', day: '2025-03-01', ...four, cancelled: 1, broken: 1, refused: 1 },
      { tenant: 'zeta', model: 'm', day: '2025-03-01', ...one, ...fine },
      { tenant: 'acme', model: 'm', day: '2025-03-02', ...one, ...fine },
    ]);
    expect(errors).toEqual([]);
  });

  test('splits days at midnight UTC, to the millisecond', () => {
    date.set('2025-03-01T23:59:59.999Z');
    store.record(entry());
    date.set('2025-03-02T01:30:00+02:00');
    store.record(entry());
    date.add(30 * 60_000);
    store.record(entry());
    expect(rowsOf(store).map(({ day, requests }) => [day, requests])).toEqual([
      ['2025-03-01', 2],
      ['2025-03-02', 1],
    ]);
  });

  test.each([
    [{ tenants: ['a', 'c'] }, ['a 01', 'c 03']],
    [{ tenants: [] }, []],
    [{ from: '2025-03-02' }, ['b 02', 'c 03']],
    [{ to: '2025-03-02' }, ['a 01', 'b 02']],
    [{ from: '2025-03-02', to: '2025-03-02', tenants: ['b'] }, ['b 02']],
    [{ tenants: ["a' OR '1'='1"] }, []],
  ])('filters by %j', (filter, expected) => {
    for (const tenant of ['a', 'b', 'c']) {
      store.record(entry({ tenant }));
      date.add(24 * 3_600_000);
    }
    const found = rowsOf(store, filter).map(({ tenant, day }) => `${tenant} ${day.slice(8)}`);
    expect(found).toEqual(expected);
  });

  test('adds up many small amounts exactly', () => {
    for (let i = 0; i < 10_000; i += 1) store.record(entry({ costNano: 333_333_333 }));
    expect(rowsOf(store)[0]?.costNano).toBe(3_333_333_330_000);
    expect(costOf(store)).toBe(3_333_333_330_000n);
  });

  test('accepts extreme counts from a remote server without throwing or overflowing', () => {
    for (let i = 0; i < 20; i += 1) {
      store.record(entry({ promptTokens: 1e300, completionTokens: NaN, costNano: Infinity }));
      store.record(entry({ promptTokens: -5, completionTokens: 2.7, costNano: -1 }));
      expect(rowsOf(store)).toHaveLength(1);
    }
    store.record(entry({ tenant: 'next' }));
    const sums = { requests: 40, promptTokens: 20e9, completionTokens: 40, costNano: 20e15 };
    expect(rowsOf(store, { tenants: ['acme'] })[0]).toMatchObject(sums);
    expect(requestsOnDisk(file)).toBe(41);
    expect(errors).toEqual([]);
  });

  test('treats a long name or invalid Unicode as the same tenant in memory and on disk', () => {
    const names = ['x'.repeat(10_000), 'a\ud800b', "o'hara\u0000;"];
    for (const tenant of names) {
      store.record(entry({ tenant }));
      rowsOf(store);
      store.record(entry({ tenant }));
      expect(rowsOf(store, { tenants: [tenant] }).map(({ requests }) => requests)).toEqual([2]);
      expect(costOf(store, tenant)).toBe(200n);
    }
    expect(rowsOf(store)).toHaveLength(3);
  });
});

describe('durability', () => {
  beforeEach(() => (store = openStore()));

  test('writes entries in one transaction after flushMs, without a close', () => {
    jest.useFakeTimers();
    store.record(entry());
    jest.advanceTimersByTime(499);
    store.record(entry());
    expect(requestsOnDisk(file)).toBe(0);
    jest.advanceTimersByTime(1);
    expect(requestsOnDisk(file)).toBe(2);
    store.record(entry());
    jest.advanceTimersByTime(500);
    expect(requestsOnDisk(file)).toBe(3);
  });

  test('close writes the remaining rows, may be called twice, and leaves a single complete file', () => {
    store.record(entry());
    store.close();
    store.close();
    const copy = join(folder, 'copy.sqlite');
    writeFileSync(copy, readFileSync(file));
    expect(requestsOnDisk(copy)).toBe(1);
    expect(errors).toEqual([]);
  });

  test('a request that ends after close is reported without throwing', () => {
    store.close();
    store.record(entry());
    expect(messages()).toEqual([expect.stringContaining('after the usage file was closed')]);
    expect(requestsOnDisk(file)).toBe(0);
  });

  test('counts continue after a restart', () => {
    store.record(entry());
    store.close();
    store = openStore();
    expect(plain(store.spent('tenant', 'acme').month)).toEqual({ costNano: 100, tokens: 15 });
    store.record(entry());
    expect(rowsOf(store)[0]?.requests).toBe(2);
  });
});

describe('spent', () => {
  beforeEach(() => (store = openStore()));

  test('is up to date after every record, per tenant and per key', () => {
    store.record(entry());
    expect(plain(store.spent('tenant', 'acme').day)).toEqual({ costNano: 100, tokens: 15 });
    store.record(entry({ key: 'other' }));
    rowsOf(store);
    store.record(entry({ tenant: 'zeta' }));
    expect(plain(store.spent('tenant', 'acme').day)).toEqual({ costNano: 200, tokens: 30 });
    expect(plain(store.spent('key', 'acme-key').day)).toEqual({ costNano: 200, tokens: 30 });
    expect(plain(store.spent('key', 'other').month)).toEqual({ costNano: 100, tokens: 15 });
    expect(plain(store.spent('key', 'acme').month)).toEqual({ costNano: 0, tokens: 0 });
  });

  test('starts from zero at the end of the day and of the month', () => {
    date.set('2025-01-30T12:00:00Z');
    const costs = (): number[] => {
      const { day, month } = store.spent('tenant', 'acme');
      return [day.costNano, month.costNano].map(Number);
    };
    store.record(entry());
    expect(costs()).toEqual([100, 100]);
    date.set('2025-01-31T23:59:59.999Z');
    expect(costs()).toEqual([0, 100]);
    store.record(entry());
    expect(costs()).toEqual([100, 200]);
    date.add(1);
    expect(costs()).toEqual([0, 0]);
    store.record(entry());
    expect(costs()).toEqual([100, 100]);
    // After the clock is set back the old sums count again.
    date.set('2025-01-31T23:00:00Z');
    expect(costs()).toEqual([100, 200]);
  });

  test('includes another process’s spending after flushMs', () => {
    const [one, two] = [store, openStore()];
    expect(costOf(one)).toBe(0n);
    two.record(entry());
    rowsOf(two);
    date.add(500);
    expect(costOf(one)).toBe(100n);
    one.record(entry());
    expect(costOf(one)).toBe(200n);
    rowsOf(one);
    date.add(500);
    expect([one, two].map((each) => costOf(each))).toEqual([200n, 200n]);
  });

  test('reads the file once and memory from then on', () => {
    store.spent('tenant', 'acme');
    const read = jest.spyOn(UsageTable.prototype, 'spent');
    for (let i = 0; i < 100; i += 1) {
      store.record(entry());
      expect(costOf(store)).toBe(BigInt(i + 1) * 100n);
    }
    expect(read).not.toHaveBeenCalled();
    store.spent('tenant', 'zeta');
    expect(read).toHaveBeenCalledTimes(1);
  });
});

describe('when the disk cannot be written', () => {
  beforeEach(() => (store = openStore()));

  const failOn = (tenant: string): void =>
    execute(
      file,
      `CREATE TRIGGER full BEFORE INSERT ON usage WHEN new.tenant = '${tenant}'
      BEGIN SELECT raise(ABORT, 'database or disk is full'); END`,
    );
  const recover = (): void => execute(file, 'DROP TRIGGER full');

  test('nothing is thrown, partly written or counted twice, and reads stay correct', () => {
    store.record(entry({ tenant: 'a' }));
    rowsOf(store);
    failOn('b');
    store.record(entry({ tenant: 'a' }));
    store.record(entry({ tenant: 'b' }));
    const sums = () => Object.fromEntries(rowsOf(store).map(({ tenant, requests }) => [tenant, requests]));
    expect(sums()).toEqual({ a: 2, b: 1 });
    expect(rowsOf(store, { tenants: ['b'] }).map(({ requests }) => requests)).toEqual([1]);
    expect(costOf(store, 'b')).toBe(100n);
    expect(requestsOnDisk(file)).toBe(1);
    expect(messages()).toEqual([expect.stringMatching(/kept in memory.*disk is full/)]);
    recover();
    expect(sums()).toEqual({ a: 2, b: 1 });
    expect(requestsOnDisk(file)).toBe(3);
  });

  test('writing is retried with doubling delays, and the failure and the recovery are reported once', () => {
    jest.useFakeTimers();
    failOn('acme');
    store.record(entry());
    const add = jest.spyOn(UsageTable.prototype, 'add');
    const attempts = [500, 999, 1, 1999, 1].map((ms) => {
      jest.advanceTimersByTime(ms);
      return add.mock.calls.length;
    });
    expect(attempts).toEqual([1, 1, 2, 2, 3]);
    expect(errors).toHaveLength(1);
    expect(recovered).toEqual([]);
    recover();
    jest.advanceTimersByTime(4000);
    expect(requestsOnDisk(file)).toBe(1);
    expect(errors).toHaveLength(1);
    expect(recovered).toEqual(['Usage is written again']);
    store.record(entry());
    jest.advanceTimersByTime(500);
    expect(requestsOnDisk(file)).toBe(2);
  });

  test('a lock held by another connection only delays writing, and is reported when it lasts', () => {
    store.record(entry());
    withDatabase(file, (db) => {
      db.exec('BEGIN IMMEDIATE');
      expect(rowsOf(store)[0]?.requests).toBe(1);
      expect(messages()).toEqual([]);
      for (let i = 0; i < 3; i += 1) rowsOf(store);
      expect(messages()).toEqual([expect.stringContaining('SQLITE_BUSY')]);
      db.exec('ROLLBACK');
    });
    rowsOf(store);
    expect(requestsOnDisk(file)).toBe(1);
    expect(errors).toHaveLength(1);
  });

  test('no statement waits for a lock', () => {
    const timeouts = jest.spyOn(Database.prototype, 'prepare');
    store.close();
    // Only closing may wait.
    const waits = timeouts.mock.calls.filter(([sql]) => sql.includes('busy_timeout'));
    expect(waits).toEqual([['PRAGMA busy_timeout = 5000']]);
  });

  test('the backlog is bounded, and dropped requests are reported once and counted', () => {
    jest.useFakeTimers();
    failOn('t0');
    for (let i = 0; i < 20_002; i += 1) store.record(entry({ tenant: `t${i}` }));
    store.record(entry({ tenant: 't0' }));
    expect(store.backlog).toEqual({ rows: 20_000, uncounted: 2 });
    jest.advanceTimersByTime(2000);
    expect(messages()).toEqual([
      expect.stringContaining('20000 rows of usage wait'),
      expect.stringContaining('disk is full'),
    ]);
    recover();
    jest.advanceTimersByTime(30_000);
    expect(store.backlog).toEqual({ rows: 0, uncounted: 2 });
    expect(requestsOnDisk(file)).toBe(20_001);
    expect(recovered).toEqual(['Usage is written again; 2 requests were not counted']);
    expect(errors).toHaveLength(2);
  });

  test('many rows are written in batches', () => {
    jest.useFakeTimers();
    for (let i = 0; i < 250; i += 1) store.record(entry({ tenant: `t${i}` }));
    const written = [500, 1, 1].map((ms) => {
      jest.advanceTimersByTime(ms);
      return requestsOnDisk(file);
    });
    expect(written).toEqual([100, 200, 250]);
  });

  test.each([
    ['removed', () => undefined],
    ['replaced', (path: string) => openUsageStore({ file: path, onError: () => undefined }).close()],
  ])('a file that was %s while open is detected, and counts go to the file now at its path', (_, replace) => {
    store.record(entry());
    rowsOf(store);
    renameSync(file, `${file}.old`);
    replace(file);
    store.record(entry());
    expect(rowsOf(store)).toMatchObject([{ requests: 1 }]);
    expect(requestsOnDisk(file)).toBe(1);
    expect(messages()).toEqual([expect.stringContaining('was removed or replaced')]);
    expect(costOf(store)).toBe(100n);
  });

  test.each([
    ['is damaged', (path: string) => writeFileSync(path, 'no database '.repeat(300))],
    ['is of a newer version', (path: string) => execute(path, 'PRAGMA user_version = 99')],
    ['cannot be opened', (path: string) => mkdirSync(path)],
  ])('counts are kept until it is repaired when the replacing file %s', (_, replace) => {
    renameSync(file, `${file}.old`);
    replace(file);
    store.record(entry());
    for (let i = 0; i < 3; i += 1) expect(() => rowsOf(store)).toThrow('not open');
    expect(costOf(store)).toBe(100n);
    expect(messages()).toEqual([
      expect.stringContaining('was removed or replaced'),
      expect.stringContaining('kept in memory'),
      expect.stringContaining('The usage report failed'),
      expect.stringContaining('a budget may be exceeded'),
    ]);
    rmSync(file, { recursive: true });
    expect(rowsOf(store)).toMatchObject([{ requests: 1 }]);
    expect(requestsOnDisk(file)).toBe(1);
  });

  test('close reports the lost rows', () => {
    failOn('acme');
    store.record(entry());
    store.close();
    expect(messages()).toEqual([expect.stringContaining('1 rows are lost')]);
  });

  test('budgets use the known spending while the file cannot be read', () => {
    store.record(entry());
    rowsOf(store);
    execute(file, 'ALTER TABLE spent RENAME TO hidden');
    store.record(entry());
    for (let i = 0; i < 3; i += 1) expect(costOf(store)).toBe(100n);
    expect(messages()).toEqual([expect.stringContaining('a budget may be exceeded')]);
    execute(file, 'ALTER TABLE hidden RENAME TO spent');
    date.add(500);
    expect(costOf(store)).toBe(200n);
  });
});

describe('the usage file', () => {
  test('and its new folder are readable by their owner only', () => {
    const deep = join(folder, 'a', 'b', 'usage.sqlite');
    const store = openStore(deep);
    store.record(entry());
    rowsOf(store);
    expect(modeOf(join(folder, 'a'))).toBe('700');
    expect([deep, `${deep}-wal`, `${deep}-shm`].map(modeOf)).toEqual(['600', '600', '600']);
  });

  test('is in WAL mode', () => {
    openStore();
    expect(firstRow(file, 'PRAGMA journal_mode')).toEqual(['wal']);
  });

  test.each([
    ['text', (path: string) => writeFileSync(path, 'this is not a database, '.repeat(300))],
    [
      'a page of it overwritten',
      (path: string) => {
        const store = openUsageStore({ file: path, onError: () => undefined });
        for (let i = 0; i < 500; i += 1) store.record(entry({ tenant: `tenant ${i}` }));
        store.close();
        const bytes = readFileSync(path);
        bytes.fill(0x7f, 4096, 8192);
        writeFileSync(path, bytes);
      },
    ],
  ])('that is damaged (%s) stops the start with its name and is left unchanged', (_, damage) => {
    damage(file);
    const before = readFileSync(file);
    expect(() => openStore()).toThrow(UsageFileError);
    expect(() => openStore()).toThrow(`The usage file ${file} is damaged or not an SQLite database`);
    expect(readFileSync(file).equals(before)).toBe(true);
  });

  test('of another program is refused and left unchanged', () => {
    execute(file, 'CREATE TABLE theirs (x)');
    expect(() => openStore()).toThrow('is the database of another program');
    expect(firstRow(file, 'SELECT group_concat(name) FROM sqlite_schema')).toEqual(['theirs']);
  });

  test('of a newer version is refused', () => {
    openStore().close();
    execute(file, `PRAGMA user_version = ${MIGRATIONS.length + 1}`);
    expect(() => openStore()).toThrow(`${file} was written by a newer version`);
  });

  test('that cannot be created is named in the error', () => {
    writeFileSync(join(folder, 'plain'), '');
    const blocked = join(folder, 'plain', 'usage.sqlite');
    expect(() => openStore(blocked)).toThrow(`The usage file ${blocked} cannot be opened (E`);
    mkdirSync(file);
    expect(() => openStore()).toThrow('cannot be opened');
  });

  test('keeps its mode if it exists', () => {
    writeFileSync(file, '');
    chmodSync(file, 0o640);
    openStore();
    expect(modeOf(file)).toBe('640');
  });

  test('with an older schema is migrated with its rows', () => {
    const store = openStore();
    store.record(entry());
    store.close();
    withDatabase(file, (db) => {
      const next = [...MIGRATIONS, 'ALTER TABLE usage ADD COLUMN extra INTEGER NOT NULL DEFAULT 7'];
      migrate(db, file, next);
      migrate(db, file, next);
      expect(db.prepare('SELECT requests, extra FROM usage').raw().all()).toEqual([[1, 7]]);
      expect(db.prepare('PRAGMA user_version').raw().get()).toEqual([next.length]);
    });
  });

  test('stays unchanged when a migration fails', () => {
    openStore().close();
    withDatabase(file, (db) => {
      const bad = [...MIGRATIONS, 'CREATE TABLE more (x); CREATE TABLE usage (x)'];
      expect(() => migrate(db, file, bad)).toThrow('already exists');
      expect(db.prepare("SELECT name FROM sqlite_schema WHERE name = 'more'").all()).toEqual([]);
      expect(db.prepare('PRAGMA user_version').raw().get()).toEqual([MIGRATIONS.length]);
    });
  });
});
