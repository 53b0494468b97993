import { join } from 'node:path';
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import Database from 'libsql';
import { UsageTable } from '../../../../src/accounts/usage/database.js';
import type { UsageEntry } from '../../../../src/accounts/usage/entry.js';
import type { UsageFilter } from '../../../../src/accounts/usage/pages.js';
import { openUsageStore, type UsageStore } from '../../../../src/accounts/usage/store.js';
import { clockAt, entry, plain, temporaryFolder, withDatabase } from './helpers.js';

/** Reports in pages: against the plain sums of what was recorded, and what the statements cost. */

const clock = clockAt('2025-03-01T12:00:00Z');
let folder: ReturnType<typeof temporaryFolder>;
let file: string;
let store: UsageStore;

beforeEach(() => {
  clock.set('2025-03-01T12:00:00Z');
  folder = temporaryFolder();
  file = join(folder.path, 'usage.sqlite');
  store = openUsageStore({ file, now: clock.now, onError: (error) => expect(error).toBeUndefined() });
});

afterEach(() => {
  jest.restoreAllMocks();
  store.close();
  folder.remove();
});

const TENANTS = ['a', 'b', 'ü', '\ufffd', '😀', 'a b', 'A', 'zz'];
const MODELS = ['m', 'n', '\uff5e', '😀'];
const KEYS = ['k', 'l', '😀'];

/** Records one request of each combination a day, and gives what a report must say. */
function recordDays(days: number): Map<string, number> {
  const expected = new Map<string, number>();
  for (let i = 0; i < days; i += 1) {
    const day = new Date(clock.now()).toISOString().slice(0, 10);
    for (const tenant of TENANTS) {
      for (const model of MODELS) {
        for (const key of KEYS) {
          store.record(entry({ tenant, model, key }));
          const id = JSON.stringify([day, tenant, model]);
          expected.set(id, (expected.get(id) ?? 0) + 1);
        }
      }
    }
    clock.add(24 * 3_600_000);
  }
  return expected;
}

const idOf = ({ day, tenant, model }: { day: string; tenant: string; model: string }): string =>
  JSON.stringify([day, tenant, model]);

/** Puts everything that is pending on disk, as the timer would. */
function writeAll(): void {
  while (store.backlog.rows > 0) store.pages().next();
}

function read(filter: UsageFilter = {}, between = () => undefined as void): Map<string, number> {
  const rows = new Map<string, number>();
  for (const page of store.pages(filter)) {
    expect(page.length).toBeLessThanOrEqual(1000);
    for (const row of page) {
      expect(rows.has(idOf(row))).toBe(false);
      rows.set(idOf(row), Number(row.requests));
    }
    between();
  }
  return rows;
}

test.each([
  ['everybody', undefined],
  ['one', ['ü']],
  ['several, one twice and one that is not there', ['zz', '😀', 'a', 'a', 'nobody']],
])('a report on %s has each row once and in order, on disk or not', (_, tenants) => {
  const expected = recordDays(8);
  const wanted = [...expected].filter(([id]) => !tenants || tenants.includes(JSON.parse(id)[1]));
  const found = read({ tenants });
  expect([...found].sort()).toEqual(wanted.sort());
  writeAll();
  const stored = read({ tenants });
  expect([...stored].sort()).toEqual(wanted);
  expect([...found.keys()].map((id) => JSON.parse(id)[0])).toEqual(
    [...found.keys()].map((id) => JSON.parse(id)[0]).sort(),
  );
});

test.each([[undefined], [TENANTS]])(
  'rows that are written while a report runs are in it once (%j)',
  (tenants) => {
    const expected = recordDays(8);
    // Each beginning of another report writes a part of what is pending.
    const found = read({ tenants }, () => void store.pages().next());
    expect([...found].sort()).toEqual([...expected].sort());
  },
);

test('a range includes its first and last day, and ten thousand years equal no range', () => {
  const expected = recordDays(3);
  writeAll();
  const second = [...expected.keys()].filter((id) => id.includes('2025-03-02'));
  expect([...read({ from: '2025-03-02', to: '2025-03-02' }).keys()].sort()).toEqual(second.sort());
  expect(read({ from: '0000-01-01', to: '9999-12-31' }).size).toBe(expected.size);
});

test('no statement of a report reads more rows than its limit', () => {
  recordDays(10);
  writeAll();
  const select = jest.spyOn(UsageTable.prototype, 'select');
  read();
  read({ tenants: ['a'] });
  read({ tenants: TENANTS });
  const sizes = select.mock.results.map(({ value }) => (value as unknown[]).length);
  expect(sizes.length).toBeGreaterThan(10);
  expect(Math.max(...sizes)).toBeLessThanOrEqual(250);
});

test('no statement scans a table or sorts rows', () => {
  store.record(entry());
  writeAll();
  const prepare = jest.spyOn(Database.prototype, 'prepare');
  const second = openUsageStore({ file, now: clock.now, onError: (error) => expect(error).toBeUndefined() });
  second.record(entry());
  second.spent('tenant', 'acme');
  second.spent('key', 'acme-key');
  expect([...second.pages(), ...second.pages({ tenants: ['acme'] })].flat()).toHaveLength(2);
  second.close();
  const statements = new Set(prepare.mock.calls.map(([sql]) => sql).filter((sql) => /usage|spent/.test(sql)));
  prepare.mockRestore();
  expect(statements.size).toBe(4);
  const plans = withDatabase(file, (db) =>
    [...statements].map((sql) =>
      JSON.stringify(
        db.prepare(`EXPLAIN QUERY PLAN ${sql}`).all(...Array(sql.split('?').length - 1).fill(null)),
      ),
    ),
  );
  for (const plan of plans) expect(plan).not.toMatch(/SCAN|TEMP B-TREE/);
  expect(plans.filter((plan) => plan.includes('SEARCH'))).toHaveLength(3);
});

test('summing an account reads at most one row per day of the month, however many tenants its key has', () => {
  for (let i = 0; i < 300; i += 1) store.record(entry({ tenant: `t${i}` }));
  writeAll();
  expect(store.spent('key', 'acme-key')).toMatchObject({ day: { costNano: 30_000n, tokens: 4500n } });
  const rows = withDatabase(file, (db) =>
    db.prepare("SELECT day, tokens FROM spent WHERE kind = 'key'").raw().all(),
  );
  expect(rows).toEqual([['2025-03-01', 4500]]);
});

test('a table of the first version is migrated with its spending', () => {
  for (const tenant of ['a', 'b']) store.record(entry({ tenant } satisfies Partial<UsageEntry>));
  store.close();
  withDatabase(file, (db) => {
    db.exec(
      'DROP TRIGGER spent_insert; DROP TRIGGER spent_update; DROP TABLE spent; DROP INDEX usage_by_day',
    );
    db.exec('CREATE INDEX usage_by_key ON usage (key, day); PRAGMA user_version = 1');
  });
  store = openUsageStore({ file, now: clock.now, onError: (error) => expect(error).toBeUndefined() });
  store.record(entry({ tenant: 'a' }));
  writeAll();
  expect(plain(store.spent('key', 'acme-key').month)).toEqual({ costNano: 300, tokens: 45 });
  expect(plain(store.spent('tenant', 'a').day)).toEqual({ costNano: 200, tokens: 30 });
});

test('sums beyond the range of JavaScript numbers are exact', () => {
  withDatabase(file, (db) =>
    db.exec(
      `INSERT INTO usage VALUES ('acme', '2025-03-01', 'm', 'acme-key', 1, ${2n ** 60n}, 1, ${2n ** 62n}, 0, 0, 0)`,
    ),
  );
  store.record(entry());
  expect([...store.pages()].flat()).toMatchObject([
    { promptTokens: 2n ** 60n + 10n, costNano: 2n ** 62n + 100n },
  ]);
  clock.add(1000);
  expect(store.spent('tenant', 'acme').month).toEqual({
    costNano: 2n ** 62n + 100n,
    tokens: 2n ** 60n + 16n,
  });
});

test('a sum stops at SQLite’s largest integer while further requests are counted', () => {
  const most = 2n ** 63n - 1n;
  withDatabase(file, (db) =>
    db.exec(`INSERT INTO usage VALUES ('acme', '2025-03-01', 'm', 'acme-key', 1, 1, 1, ${most}, 0, 0, 0)`),
  );
  store.record(entry());
  writeAll();
  expect([...store.pages()].flat()).toMatchObject([{ requests: 2n, costNano: most }]);
});
