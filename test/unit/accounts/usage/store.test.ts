import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import Database from 'libsql';
import { migrate, MIGRATIONS, UsageFileError, UsageTable } from '../../../../src/accounts/usage/database.js';
import { openUsageStore, type UsageOptions, type UsageStore } from '../../../../src/accounts/usage/store.js';
import { clockAt, entry, plain, requestsOnDisk, rowsOf, temporaryFolder, withDatabase } from './helpers.js';

let folder: ReturnType<typeof temporaryFolder>;
let file: string;
let errors: Error[];
let open: UsageStore[];

beforeEach(() => {
  folder = temporaryFolder();
  file = join(folder.path, 'usage.sqlite');
  errors = [];
  open = [];
});

afterEach(() => {
  jest.useRealTimers();
  for (const store of open) store.close();
  folder.remove();
});

function openStore(options: Partial<UsageOptions> = {}): UsageStore {
  const store = openUsageStore({ file, onError: (error) => errors.push(error), ...options });
  open.push(store);
  return store;
}

const messages = (): string[] => errors.map((error) => error.message);

describe('counting', () => {
  test('adds up per tenant, model and day for every outcome', () => {
    const clock = clockAt('2025-03-01T10:00:00Z');
    const store = openStore({ now: clock.now });
    store.record(entry());
    store.record(entry({ outcome: 'cancelled', completionTokens: 2, costNano: 40 }));
    store.record(entry({ outcome: 'broken', key: 'other-key' }));
    store.record(entry({ outcome: 'refused', promptTokens: 0, completionTokens: 0, costNano: 0 }));
    store.record(entry({ model: 'big' }));
    store.record(entry({ tenant: 'zeta' }));
    clock.set('2025-03-02T00:00:00Z');
    store.record(entry());
    const one = { requests: 1, promptTokens: 10, completionTokens: 5, costNano: 100 };
    const fine = { cancelled: 0, broken: 0, refused: 0 };
    expect(rowsOf(store)).toEqual([
      { tenant: 'acme', model: 'big', day: '2025-03-01', ...one, ...fine },
      {
        tenant: 'acme',
        model: 'm',
        day: '2025-03-01',
        requests: 4,
        promptTokens: 30,
        completionTokens: 12,
        costNano: 240,
        cancelled: 1,
        broken: 1,
        refused: 1,
      },
      { tenant: 'zeta', model: 'm', day: '2025-03-01', ...one, ...fine },
      { tenant: 'acme', model: 'm', day: '2025-03-02', ...one, ...fine },
    ]);
    expect(errors).toEqual([]);
  });

  test('splits days at midnight UTC, to the millisecond', () => {
    const clock = clockAt('2025-03-01T23:59:59.999Z');
    const store = openStore({ now: clock.now });
    store.record(entry());
    clock.set('2025-03-02T01:30:00+02:00');
    store.record(entry());
    clock.add(30 * 60_000);
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
    const clock = clockAt('2025-03-01T12:00:00Z');
    const store = openStore({ now: clock.now });
    for (const tenant of ['a', 'b', 'c']) {
      store.record(entry({ tenant }));
      clock.add(24 * 3_600_000);
    }
    const found = (): string[] => rowsOf(store, filter).map(({ tenant, day }) => `${tenant} ${day.slice(8)}`);
    expect(found()).toEqual(expected);
  });

  test('adds up many small amounts exactly', () => {
    const store = openStore();
    for (let i = 0; i < 10_000; i += 1) store.record(entry({ costNano: 333_333_333 }));
    expect(rowsOf(store)[0]?.costNano).toBe(3_333_333_330_000);
    expect(store.spent('tenant', 'acme').day.costNano).toBe(3_333_333_330_000n);
  });

  test('accepts extreme counts from a remote server without throwing or overflowing', () => {
    const store = openStore();
    for (let i = 0; i < 20; i += 1) {
      store.record(entry({ promptTokens: 1e300, completionTokens: NaN, costNano: Infinity }));
      store.record(entry({ promptTokens: -5, completionTokens: 2.7, costNano: -1 }));
      expect(rowsOf(store)).toHaveLength(1);
    }
    store.record(entry({ tenant: 'next' }));
    expect(rowsOf(store, { tenants: ['acme'] })[0]).toMatchObject({
      requests: 40,
      promptTokens: 20e9,
      completionTokens: 40,
      costNano: 20e15,
    });
    expect(requestsOnDisk(file)).toBe(41);
    expect(errors).toEqual([]);
  });

  test('treats a long name or invalid Unicode as the same tenant in memory and on disk', () => {
    const store = openStore();
    const names = ['x'.repeat(10_000), 'a\ud800b', "o'hara\u0000;"];
    for (const tenant of names) {
      store.record(entry({ tenant }));
      rowsOf(store);
      store.record(entry({ tenant }));
      expect(rowsOf(store, { tenants: [tenant] }).map(({ requests }) => requests)).toEqual([2]);
      expect(store.spent('tenant', tenant).day.costNano).toBe(200n);
    }
    expect(rowsOf(store)).toHaveLength(3);
  });
});

describe('durability', () => {
  test('writes entries in one transaction after flushMs, without a close', () => {
    jest.useFakeTimers();
    const store = openStore({ flushMs: 500 });
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
    const store = openStore();
    store.record(entry());
    store.close();
    store.close();
    const copy = join(folder.path, 'copy.sqlite');
    writeFileSync(copy, readFileSync(file));
    expect(requestsOnDisk(copy)).toBe(1);
    expect(errors).toEqual([]);
  });

  test('a request that ends after close is reported without throwing', () => {
    const store = openStore();
    store.close();
    store.record(entry());
    expect(messages()).toEqual([expect.stringContaining('after the usage file was closed')]);
    expect(requestsOnDisk(file)).toBe(0);
  });

  test('counts continue after a restart', () => {
    const clock = clockAt('2025-03-01T10:00:00Z');
    const first = openStore({ now: clock.now });
    first.record(entry());
    first.close();
    const second = openStore({ now: clock.now });
    expect(plain(second.spent('tenant', 'acme').month)).toEqual({ costNano: 100, tokens: 15 });
    second.record(entry());
    expect(rowsOf(second)[0]?.requests).toBe(2);
  });
});

describe('spent', () => {
  test('is up to date after every record, per tenant and per key', () => {
    const store = openStore();
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
    const clock = clockAt('2025-01-30T12:00:00Z');
    const store = openStore({ now: clock.now });
    const costs = (): number[] => {
      const { day, month } = store.spent('tenant', 'acme');
      return [day.costNano, month.costNano].map(Number);
    };
    store.record(entry());
    expect(costs()).toEqual([100, 100]);
    clock.set('2025-01-31T23:59:59.999Z');
    expect(costs()).toEqual([0, 100]);
    store.record(entry());
    expect(costs()).toEqual([100, 200]);
    clock.add(1);
    expect(costs()).toEqual([0, 0]);
    store.record(entry());
    expect(costs()).toEqual([100, 100]);
    // A clock that was set back finds the old sums again.
    clock.set('2025-01-31T23:00:00Z');
    expect(costs()).toEqual([100, 200]);
  });

  test('includes another process’s spending after flushMs', () => {
    const clock = clockAt('2025-03-01T10:00:00Z');
    const [one, two] = [openStore({ now: clock.now }), openStore({ now: clock.now })];
    expect(one.spent('tenant', 'acme').day.costNano).toBe(0n);
    two.record(entry());
    rowsOf(two);
    clock.add(500);
    expect(one.spent('tenant', 'acme').day.costNano).toBe(100n);
    one.record(entry());
    expect(one.spent('tenant', 'acme').day.costNano).toBe(200n);
    rowsOf(one);
    clock.add(500);
    expect([one, two].map((store) => store.spent('tenant', 'acme').day.costNano)).toEqual([200n, 200n]);
  });

  test('reads the file once and memory from then on', () => {
    const store = openStore();
    store.spent('tenant', 'acme');
    const read = jest.spyOn(UsageTable.prototype, 'spent');
    try {
      for (let i = 0; i < 100; i += 1) {
        store.record(entry());
        expect(store.spent('tenant', 'acme').day.costNano).toBe(BigInt(i + 1) * 100n);
      }
      expect(read).not.toHaveBeenCalled();
      store.spent('tenant', 'zeta');
      expect(read).toHaveBeenCalledTimes(1);
    } finally {
      read.mockRestore();
    }
  });
});

describe('when the disk cannot be written', () => {
  const failOn = (tenant: string): void =>
    withDatabase(file, (db) => {
      db.exec(`CREATE TRIGGER full BEFORE INSERT ON usage WHEN new.tenant = '${tenant}'
        BEGIN SELECT raise(ABORT, 'database or disk is full'); END`);
    });
  const recover = (): void => withDatabase(file, (db) => void db.exec('DROP TRIGGER full'));

  test('nothing is thrown, partly written or counted twice, and reads stay correct', () => {
    const store = openStore();
    store.record(entry({ tenant: 'a' }));
    rowsOf(store);
    failOn('b');
    store.record(entry({ tenant: 'a' }));
    store.record(entry({ tenant: 'b' }));
    const sums = (): unknown[] => rowsOf(store).map(({ tenant, requests }) => [tenant, requests]);
    expect(sums()).toEqual([
      ['a', 2],
      ['b', 1],
    ]);
    expect(rowsOf(store, { tenants: ['b'] }).map(({ requests }) => requests)).toEqual([1]);
    expect(store.spent('tenant', 'b').day.costNano).toBe(100n);
    expect(requestsOnDisk(file)).toBe(1);
    expect(messages()).toEqual([expect.stringMatching(/kept in memory.*disk is full/)]);
    recover();
    expect(sums()).toEqual([
      ['a', 2],
      ['b', 1],
    ]);
    expect(requestsOnDisk(file)).toBe(3);
  });

  test('writing is retried with doubling delays, and the failure and the recovery are reported once', () => {
    jest.useFakeTimers();
    const recovered: string[] = [];
    const store = openStore({ flushMs: 500, onRecovery: (message) => recovered.push(message) });
    failOn('acme');
    store.record(entry());
    const add = jest.spyOn(UsageTable.prototype, 'add');
    for (const [ms, attempts] of [
      [500, 1],
      [999, 1],
      [1, 2],
      [1999, 2],
      [1, 3],
    ] as const) {
      jest.advanceTimersByTime(ms);
      expect(add).toHaveBeenCalledTimes(attempts);
    }
    add.mockRestore();
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
    const store = openStore();
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
    const store = openStore();
    const timeouts = jest.spyOn(Database.prototype, 'prepare');
    store.close();
    // Only the end may wait.
    expect(timeouts.mock.calls.filter(([sql]) => sql.includes('busy_timeout'))).toEqual([
      ['PRAGMA busy_timeout = 5000'],
    ]);
    timeouts.mockRestore();
  });

  test('the backlog is bounded, and dropped requests are reported once and counted', () => {
    jest.useFakeTimers();
    const recovered: string[] = [];
    const store = openStore({ onRecovery: (message) => recovered.push(message) });
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
    const store = openStore({ flushMs: 500 });
    for (let i = 0; i < 250; i += 1) store.record(entry({ tenant: `t${i}` }));
    const written: number[] = [];
    for (const ms of [500, 1, 1]) {
      jest.advanceTimersByTime(ms);
      written.push(requestsOnDisk(file));
    }
    expect(written).toEqual([100, 200, 250]);
  });

  test.each([
    ['removed', () => undefined],
    ['replaced', (path: string) => openUsageStore({ file: path, onError: () => undefined }).close()],
  ])('a file that was %s while open is detected, and counts go to the file now at its path', (_, replace) => {
    const store = openStore();
    store.record(entry());
    rowsOf(store);
    renameSync(file, `${file}.old`);
    replace(file);
    store.record(entry());
    expect(rowsOf(store)).toMatchObject([{ requests: 1 }]);
    expect(requestsOnDisk(file)).toBe(1);
    expect(messages()).toEqual([expect.stringContaining('was removed or replaced')]);
    expect(store.spent('tenant', 'acme').day.costNano).toBe(100n);
  });

  test.each([
    ['is damaged', (path: string) => writeFileSync(path, 'no database '.repeat(300))],
    [
      'is of a newer version',
      (path: string) => withDatabase(path, (db) => void db.exec('PRAGMA user_version = 99')),
    ],
    ['cannot be opened', (path: string) => mkdirSync(path)],
  ])('counts are kept until it is repaired when the replacing file %s', (_, replace) => {
    const store = openStore();
    renameSync(file, `${file}.old`);
    replace(file);
    store.record(entry());
    for (let i = 0; i < 3; i += 1) expect(() => rowsOf(store)).toThrow('not open');
    expect(store.spent('tenant', 'acme').day.costNano).toBe(100n);
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
    const store = openStore();
    failOn('acme');
    store.record(entry());
    store.close();
    expect(messages()).toEqual([expect.stringContaining('1 rows are lost')]);
  });

  test('budgets use the known spending while the file cannot be read', () => {
    const clock = clockAt('2025-03-01T10:00:00Z');
    const shut = openStore({ now: clock.now });
    shut.record(entry());
    rowsOf(shut);
    withDatabase(file, (db) => void db.exec('ALTER TABLE spent RENAME TO hidden'));
    shut.record(entry());
    for (let i = 0; i < 3; i += 1) expect(shut.spent('tenant', 'acme').day.costNano).toBe(100n);
    expect(messages()).toEqual([expect.stringContaining('a budget may be exceeded')]);
    withDatabase(file, (db) => void db.exec('ALTER TABLE hidden RENAME TO spent'));
    clock.add(500);
    expect(shut.spent('tenant', 'acme').day.costNano).toBe(200n);
  });
});

describe('the usage file', () => {
  test('and its new folder are readable by their owner only', () => {
    const deep = join(folder.path, 'a', 'b', 'usage.sqlite');
    const store = openStore({ file: deep });
    store.record(entry());
    rowsOf(store);
    const mode = (path: string): string => (statSync(path).mode & 0o777).toString(8);
    expect(mode(join(folder.path, 'a'))).toBe('700');
    expect([deep, `${deep}-wal`, `${deep}-shm`].map(mode)).toEqual(['600', '600', '600']);
  });

  test('is in WAL mode', () => {
    openStore();
    const journal = withDatabase(file, (db) => db.prepare('PRAGMA journal_mode').raw().get());
    expect(journal).toEqual(['wal']);
  });

  test.each([
    ['text', (path: string) => writeFileSync(path, 'this is no database, '.repeat(300))],
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
    withDatabase(file, (db) => void db.exec('CREATE TABLE theirs (x)'));
    expect(() => openStore()).toThrow('is the database of another program');
    expect(withDatabase(file, (db) => db.prepare('SELECT name FROM sqlite_schema').raw().all())).toEqual([
      ['theirs'],
    ]);
  });

  test('of a newer version is refused', () => {
    openStore().close();
    withDatabase(file, (db) => void db.exec(`PRAGMA user_version = ${MIGRATIONS.length + 1}`));
    expect(() => openStore()).toThrow(`${file} was written by a newer version`);
  });

  test('that cannot be created is named in the error', () => {
    const blocked = join(folder.path, 'plain');
    writeFileSync(blocked, '');
    expect(() => openStore({ file: join(blocked, 'usage.sqlite') })).toThrow(
      `The usage file ${join(blocked, 'usage.sqlite')} cannot be opened (E`,
    );
    mkdirSync(join(folder.path, 'usage.sqlite'));
    expect(() => openStore()).toThrow('cannot be opened');
  });

  test('keeps its mode if it exists', () => {
    writeFileSync(file, '');
    chmodSync(file, 0o640);
    openStore();
    expect(statSync(file).mode & 0o777).toBe(0o640);
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
