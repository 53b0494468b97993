/** The SQLite file of the usage table: opening it, its schema, its statements. Everything here is synchronous. */

import { closeSync, existsSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import Database from 'libsql';
import { monthStart, type Day } from './day.js';
import { COUNTS, type UsageCounts } from './entry.js';
import type { PendingRow } from './pending.js';
import type { AccountKind, SpentNow } from './spending.js';

/** The usage file cannot be used; the message names it and says what to do. */
export class UsageFileError extends Error {
  override readonly name = 'UsageFileError';
}

/** One line of a usage report: counts of a tenant and a model on a UTC day. */
export interface UsageRow extends Readonly<UsageCounts> {
  readonly tenant: string;
  readonly model: string;
  readonly day: Day;
}

export interface UsageFilter {
  /** Only these; an empty list means nobody, undefined everybody. */
  readonly tenants?: readonly string[] | undefined;
  /** First and last day, both included. */
  readonly from?: Day | undefined;
  readonly to?: Day | undefined;
}

/** Each brings the schema one version up; `user_version` is how many have run. Append only, never change one. */
export const MIGRATIONS: readonly string[] = [
  `CREATE TABLE usage (
     tenant TEXT NOT NULL, day TEXT NOT NULL, model TEXT NOT NULL, key TEXT NOT NULL,
     requests INTEGER NOT NULL, promptTokens INTEGER NOT NULL, completionTokens INTEGER NOT NULL,
     costNano INTEGER NOT NULL, cancelled INTEGER NOT NULL, broken INTEGER NOT NULL, refused INTEGER NOT NULL,
     PRIMARY KEY (tenant, day, model, key)
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX usage_by_key ON usage (key, day)`,
];

// Increments, never totals: two processes on one file add up. The bound keeps a sum a whole number, which STRICT wants.
const ADD = `INSERT INTO usage (tenant, day, model, key, ${COUNTS.join(', ')})
  VALUES (?, ?, ?, ?, ${COUNTS.map(() => '?').join(', ')})
  ON CONFLICT DO UPDATE SET ${COUNTS.map((name) => `${name} = min(${name} + excluded.${name}, ${Number.MAX_SAFE_INTEGER})`).join(', ')}`;

const SELECT = `SELECT tenant, model, day, ${COUNTS.map((name) => `total(${name}) AS ${name}`).join(', ')} FROM usage
  WHERE (?1 IS NULL OR tenant IN (SELECT value FROM json_each(?1))) AND day BETWEEN ?2 AND ?3
  GROUP BY tenant, model, day`;

const spentBy = (kind: AccountKind): string =>
  `SELECT total(costNano) AS monthCost, total(promptTokens + completionTokens) AS monthTokens,
     total(costNano) FILTER (WHERE day = ?2) AS dayCost,
     total(promptTokens + completionTokens) FILTER (WHERE day = ?2) AS dayTokens
   FROM usage WHERE ${kind} = ?1 AND day BETWEEN ?3 AND ?4`;

/** How long opening may wait for another process, and how long anything later may hold up the event loop. */
const OPEN_BUSY_MS = 5000;
const BUSY_MS = 50;

/** The text of SQLite's own code, or of what else was thrown. */
export function causeOf(thrown: unknown): string {
  const { code, message } = thrown as { code?: unknown; message?: unknown };
  return typeof code === 'string' && code !== '' ? `${code}: ${String(message)}` : String(message);
}

/** Level by level: Node's own recursive way never ends where a folder says that it cannot be, as /proc does. */
function createFolder(folder: string): void {
  if (existsSync(folder)) return;
  createFolder(dirname(folder));
  try {
    mkdirSync(folder, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

/** Creates the file readable by its owner alone, and missing folders too; leaves what exists as it is. */
function createPrivately(file: string): void {
  createFolder(dirname(file));
  try {
    closeSync(openSync(file, 'wx', 0o600));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

/** Runs `body` as one write transaction: all of it is on disk afterwards, or nothing. */
function transaction(db: Database.Database, body: () => void): void {
  db.exec('BEGIN IMMEDIATE');
  try {
    body();
    db.exec('COMMIT');
  } catch (error) {
    // SQLite has rolled back by itself after some errors; a second ROLLBACK would hide the cause.
    if (db.inTransaction) db.exec('ROLLBACK');
    throw error;
  }
}

/** Runs a pragma; its first value, if it has one. */
function pragma(db: Database.Database, source: string): unknown {
  const [row] = db.prepare(`PRAGMA ${source}`).all() as Record<string, unknown>[];
  return row && Object.values(row)[0];
}

/**
 * Brings the schema of `db` up to the last migration.
 *
 * @throws UsageFileError when the file is newer than this program or belongs to another one.
 */
export function migrate(db: Database.Database, file: string, migrations = MIGRATIONS): void {
  transaction(db, () => {
    const version = Number(pragma(db, 'user_version'));
    if (version > migrations.length) {
      throw new UsageFileError(`The usage file ${file} was written by a newer version of LMServ`);
    }
    if (version === 0 && db.prepare('SELECT 1 FROM sqlite_schema LIMIT 1').get() !== undefined) {
      throw new UsageFileError(`The usage file ${file} is the database of another program`);
    }
    for (const step of migrations.slice(version)) db.exec(step);
    db.exec(`PRAGMA user_version = ${migrations.length}`);
  });
}

function prepareFile(db: Database.Database, file: string): void {
  pragma(db, 'journal_mode = WAL');
  pragma(db, 'synchronous = NORMAL');
  const health = pragma(db, 'quick_check(1)');
  if (health !== 'ok') throw new UsageFileError(damaged(file, String(health)));
  migrate(db, file);
  pragma(db, `busy_timeout = ${BUSY_MS}`);
}

const damaged = (file: string, cause: string): string =>
  `The usage file ${file} is damaged or is no SQLite database (${cause}); ` +
  'restore it from a copy or move it away, LMServ does not overwrite it';

function openError(file: string, thrown: unknown): UsageFileError {
  if (thrown instanceof UsageFileError) return thrown;
  const { code } = thrown as { code?: unknown };
  const cause = causeOf(thrown);
  const broken = code === 'SQLITE_NOTADB' || String(code).startsWith('SQLITE_CORRUPT');
  return new UsageFileError(
    broken ? damaged(file, cause) : `The usage file ${file} cannot be opened (${cause})`,
    {
      cause: thrown,
    },
  );
}

function openDatabase(file: string): Database.Database {
  let db: Database.Database | undefined;
  try {
    createPrivately(file);
    db = new Database(file, { timeout: OPEN_BUSY_MS });
    prepareFile(db, file);
    return db;
  } catch (thrown) {
    db?.close();
    throw openError(file, thrown);
  }
}

/** The usage table of one file. Its methods throw what SQLite throws; the store decides what becomes of it. */
export class UsageTable {
  readonly #db: Database.Database;

  /** @throws UsageFileError */
  constructor(file: string) {
    this.#db = openDatabase(file);
  }

  /** Adds all rows in one transaction. */
  add(rows: Iterable<PendingRow>): void {
    transaction(this.#db, () => {
      const statement = this.#db.prepare(ADD);
      for (const { tenant, day, model, key, counts } of rows) {
        statement.run(tenant, day, model, key, ...COUNTS.map((name) => counts[name]));
      }
    });
  }

  /** Sums per tenant, model and day, in no order. */
  select(filter: UsageFilter): UsageRow[] {
    const tenants = filter.tenants === undefined ? null : JSON.stringify(filter.tenants);
    return this.#db.prepare(SELECT).all(tenants, filter.from ?? '', filter.to ?? '~') as UsageRow[];
  }

  spent(kind: AccountKind, name: string, today: Day): SpentNow {
    const monthEnd = `${today.slice(0, 8)}31`;
    const sums = this.#db.prepare(spentBy(kind)).get(name, today, monthStart(today), monthEnd) as Record<
      'dayCost' | 'dayTokens' | 'monthCost' | 'monthTokens',
      number
    >;
    return {
      day: { costNano: sums.dayCost, tokens: sums.dayTokens },
      month: { costNano: sums.monthCost, tokens: sums.monthTokens },
    };
  }

  /** A number that changes when another connection has written to the file, and not when this one has. */
  version(): number {
    return Number(pragma(this.#db, 'data_version'));
  }

  /** Waits up to five seconds for other processes from now on: at the end there is no event loop to hold up. */
  bePatient(): void {
    pragma(this.#db, `busy_timeout = ${OPEN_BUSY_MS}`);
  }

  /** Moves the log into the file, so that the one file is a whole copy, and closes it. */
  close(): void {
    try {
      pragma(this.#db, 'wal_checkpoint(TRUNCATE)');
    } finally {
      this.#db.close();
    }
  }
}
