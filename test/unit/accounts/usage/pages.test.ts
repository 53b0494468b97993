import { join } from 'node:path';
import { jest } from '@jest/globals';
import Database from 'libsql';
import { UsageTable } from '../../../../src/accounts/usage/database.js';
import type { UsageFilter } from '../../../../src/accounts/usage/pages.js';
import { openUsageStore, type UsageStore } from '../../../../src/accounts/usage/store.js';
import { emptyFolder } from '../../../support/folder.js';
import { entry, execute, FakeDate, plain, withDatabase } from './helpers.js';

const date = new FakeDate();
const file = join(emptyFolder(), 'usage.sqlite');
const open = () => openUsageStore({ file, now: date.now, onError: (error) => expect(error).toBeUndefined() });
let store: UsageStore;

beforeEach(() => {
  date.set('2025-03-01T12:00:00Z');
  store = open();
});
afterEach(() => {
  jest.restoreAllMocks();
  store.close();
});

const TENANTS = ['a', 'b', 'ü', '\ufffd', '😀', 'a b', 'A', 'zz'];
const MODELS = ['m', 'n', '\uff5e', '😀'];
const KEYS = ['k', 'l', '😀'];

/** Records one request of each combination a day; the requests that a report must contain. */
function recordDays(days: number): Map<string, number> {
  const expected = new Map<string, number>();
  for (let i = 0; i < days; i += 1) {
    const day = new Date(date.now()).toISOString().slice(0, 10);
    for (const tenant of TENANTS) {
      for (const model of MODELS) {
        for (const key of KEYS) store.record(entry({ tenant, model, key }));
        expected.set(idOf({ day, tenant, model }), KEYS.length);
      }
    }
    date.add(24 * 3_600_000);
  }
  return expected;
}

const idOf = ({ day, tenant, model }: { day: string; tenant: string; model: string }): string =>
  JSON.stringify([day, tenant, model]);

/** Writes all pending rows, as the timer would. */
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
  ['several, one twice and one that does not exist', ['zz', '😀', 'a', 'a', 'nobody']],
])('a report on %s has each row once and in order, on disk or not', (_, tenants) => {
  const expected = recordDays(8);
  const wanted = [...expected].filter(([id]) => !tenants || tenants.includes(JSON.parse(id)[1]));
  const found = read({ tenants });
  expect([...found].sort()).toEqual(wanted.sort());
  writeAll();
  const stored = read({ tenants });
  expect([...stored].sort()).toEqual(wanted);
  const days = [...found.keys()].map((id) => JSON.parse(id)[0]);
  expect(days).toEqual(days.toSorted());
});

test.each([[undefined], [TENANTS]])('rows written during a report appear in it once (%j)', (tenants) => {
  const expected = recordDays(8);
  // Starting another report writes a part of the pending rows.
  const found = read({ tenants }, () => void store.pages().next());
  expect([...found].sort()).toEqual([...expected].sort());
});

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
  const second = open();
  second.record(entry());
  second.spent('tenant', 'acme');
  second.spent('key', 'acme-key');
  expect([...second.pages(), ...second.pages({ tenants: ['acme'] })].flat()).toHaveLength(2);
  second.close();
  const statements = new Set(prepare.mock.calls.map(([sql]) => sql).filter((sql) => /usage|spent/.test(sql)));
  prepare.mockRestore();
  expect(statements.size).toBe(4);
  const plans = withDatabase(file, (db) =>
    [...statements].map((sql) => {
      const values = Array(sql.split('?').length - 1).fill(null);
      return JSON.stringify(db.prepare(`EXPLAIN QUERY PLAN ${sql}`).all(...values));
    }),
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
  for (const tenant of ['a', 'b']) store.record(entry({ tenant }));
  store.close();
  execute(
    file,
    `DROP TRIGGER spent_insert; DROP TRIGGER spent_update; DROP TABLE spent; DROP INDEX usage_by_day;
    CREATE INDEX usage_by_key ON usage (key, day); PRAGMA user_version = 1`,
  );
  store = open();
  store.record(entry({ tenant: 'a' }));
  writeAll();
  expect(plain(store.spent('key', 'acme-key').month)).toEqual({ costNano: 300, tokens: 45 });
  expect(plain(store.spent('tenant', 'a').day)).toEqual({ costNano: 200, tokens: 30 });
});

/** Writes a row of one request into the file. */
const insert = (promptTokens: bigint, costNano: bigint) =>
  execute(
    file,
    `INSERT INTO usage VALUES ('acme', '2025-03-01', 'm', 'acme-key', 1, ${promptTokens}, 1, ${costNano}, 0, 0, 0)`,
  );

test('sums beyond the range of JavaScript numbers are exact', () => {
  insert(2n ** 60n, 2n ** 62n);
  store.record(entry());
  const costNano = 2n ** 62n + 100n;
  expect([...store.pages()].flat()).toMatchObject([{ promptTokens: 2n ** 60n + 10n, costNano }]);
  date.add(1000);
  expect(store.spent('tenant', 'acme').month).toEqual({ costNano, tokens: 2n ** 60n + 16n });
});

test('a sum stops at SQLite’s largest integer while further requests are counted', () => {
  const most = 2n ** 63n - 1n;
  insert(1n, most);
  store.record(entry());
  writeAll();
  expect([...store.pages()].flat()).toMatchObject([{ requests: 2n, costNano: most }]);
});
