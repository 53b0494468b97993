/** The SQLite file of the usage table: opening it, its schema, its statements. Everything here is synchronous. */

import { closeSync, existsSync, mkdirSync, openSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import Database from 'libsql';
import { monthStart, type Day } from './day.js';
import { COUNTS, type UsageCounts } from './entry.js';
import type { PendingRow } from './pending.js';
import { noSpending, type AccountKind, type Spent, type SpentNow } from './spending.js';
import { UserError } from '../../errors.js';

/** The usage file cannot be used; the message names it and says what to do. */
export class UsageFileError extends UserError {}

/** Where a row is in a report: by day, tenant, model and key. */
export interface Position {
  readonly day: Day;
  readonly tenant: string;
  readonly model: string;
  readonly key: string;
}

/** A row as the file holds it. */
export type StoredRow = Position & UsageCounts;

/** A part of a report that is read in one go. */
export interface Range {
  /** Only this one's; undefined means everybody's. */
  readonly tenant?: string | undefined;
  /** The row before the first one. */
  readonly after: Position;
  /** The last day, included. */
  readonly to: Day;
  /** The most rows. */
  readonly limit: number;
}

/** The largest number of SQLite. Beyond it a sum would become a fraction, which STRICT refuses. */
const MAX_SUM = 2n ** 63n - 1n;

/** Each brings the schema one version up; `user_version` is how many have run. Append only, never change one. */
export const MIGRATIONS: readonly string[] = [
  `CREATE TABLE usage (
     tenant TEXT NOT NULL, day TEXT NOT NULL, model TEXT NOT NULL, key TEXT NOT NULL,
     requests INTEGER NOT NULL, promptTokens INTEGER NOT NULL, completionTokens INTEGER NOT NULL,
     costNano INTEGER NOT NULL, cancelled INTEGER NOT NULL, broken INTEGER NOT NULL, refused INTEGER NOT NULL,
     PRIMARY KEY (tenant, day, model, key)
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX usage_by_key ON usage (key, day)`,
  // Budgets read at most 31 rows of `spent`, however many rows a key with any number of tenants has in `usage`. Triggers
  // keep it right whoever writes. Reports read `usage_by_day` piece by piece, in their own order.
  `DROP INDEX usage_by_key;
   CREATE INDEX usage_by_day ON usage (day, tenant, model, key);
   CREATE TABLE spent (
     kind TEXT NOT NULL, name TEXT NOT NULL, day TEXT NOT NULL, costNano INTEGER NOT NULL, tokens INTEGER NOT NULL,
     PRIMARY KEY (kind, name, day)
   ) STRICT, WITHOUT ROWID;
   ${(['tenant', 'key'] as const).map(fillSpent).join('')}
   CREATE TRIGGER spent_insert AFTER INSERT ON usage BEGIN ${addSpent('new.costNano', 'new.promptTokens + new.completionTokens')} END;
   CREATE TRIGGER spent_update AFTER UPDATE ON usage BEGIN ${addSpent(
     'new.costNano - old.costNano',
     'new.promptTokens - old.promptTokens + new.completionTokens - old.completionTokens',
   )} END`,
];

function fillSpent(kind: AccountKind): string {
  return `INSERT INTO spent SELECT '${kind}', ${kind}, day, ${bounded('total(costNano)')},
    ${bounded('total(promptTokens) + total(completionTokens)')} FROM usage GROUP BY ${kind}, day;`;
}

/** total() never overflows, but gives a fraction. */
function bounded(sum: string): string {
  return `CAST(min(${sum}, 9e18) AS INTEGER)`;
}

function addSpent(cost: string, tokens: string): string {
  const [costSum, tokenSum] = [cost, tokens].map((sum) => `min(${sum}, ${MAX_SUM})`);
  return `INSERT INTO spent VALUES ('tenant', new.tenant, new.day, ${costSum}, ${tokenSum}),
      ('key', new.key, new.day, ${costSum}, ${tokenSum})
    ON CONFLICT DO UPDATE SET costNano = min(costNano + excluded.costNano, ${MAX_SUM}),
      tokens = min(tokens + excluded.tokens, ${MAX_SUM});`;
}

// Increments, never totals: two processes on one file add up.
const ADD = `INSERT INTO usage (tenant, day, model, key, ${COUNTS.join(', ')})
  VALUES (?, ?, ?, ?, ${COUNTS.map(() => '?').join(', ')})
  ON CONFLICT DO UPDATE SET ${COUNTS.map((name) => `${name} = min(${name} + excluded.${name}, ${MAX_SUM})`).join(', ')}`;

const COLUMNS = `day, tenant, model, key, ${COUNTS.join(', ')}`;

const SELECT = `SELECT ${COLUMNS} FROM usage WHERE (day, tenant, model, key) > (?, ?, ?, ?) AND day <= ?
  ORDER BY day, tenant, model, key LIMIT ?`;

const SELECT_OF_TENANT = `SELECT ${COLUMNS} FROM usage
  WHERE tenant = ? AND (day, model, key) > (?, ?, ?) AND day <= ? ORDER BY day, model, key LIMIT ?`;

const SPENT = 'SELECT day, costNano, tokens FROM spent WHERE kind = ? AND name = ? AND day BETWEEN ? AND ?';

/** How long opening and closing may wait for another process, milliseconds. In between nothing waits: it would hold up the event loop. */
const PATIENT_MS = 5000;

export function codeOf(thrown: unknown): unknown {
  return (thrown as { code?: unknown }).code;
}

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

function prepareFile(db: Database.Database, file: string, check: boolean): void {
  pragma(db, 'journal_mode = WAL');
  pragma(db, 'synchronous = NORMAL');
  // A log that a long transaction or a reader made large is cut when it begins anew.
  pragma(db, `journal_size_limit = ${16 * 2 ** 20}`);
  const health = check ? pragma(db, 'quick_check(1)') : 'ok';
  if (health !== 'ok') throw new UsageFileError(damaged(file, String(health)));
  migrate(db, file);
  pragma(db, 'busy_timeout = 0');
}

const damaged = (file: string, cause: string): string =>
  `The usage file ${file} is damaged or not an SQLite database (${cause}); ` +
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

function openDatabase(file: string, serving: boolean): Database.Database {
  let db: Database.Database | undefined;
  try {
    createPrivately(file);
    db = new Database(file, { timeout: serving ? 0 : PATIENT_MS });
    prepareFile(db, file, !serving);
    return db;
  } catch (thrown) {
    db?.close();
    throw openError(file, thrown);
  }
}

/** Which file is at a path; undefined when there is none or it cannot be seen. */
function identityOf(file: string): string | undefined {
  const stats = statSync(file, { bigint: true, throwIfNoEntry: false });
  return stats && `${stats.dev} ${stats.ino}`;
}

/**
 * The usage table of one file. Its methods throw what SQLite throws, at once when another process holds a lock; the
 * store decides what becomes of it.
 */
export class UsageTable {
  readonly #db: Database.Database;
  readonly #file: string;
  readonly #identity: string | undefined;
  readonly #statements = new Map<string, Database.Statement>();

  /**
   * @param serving requests are being served: nothing waits for a lock, and the file is not checked from end to end.
   * @throws UsageFileError
   */
  constructor(file: string, { serving = false } = {}) {
    this.#db = openDatabase(file, serving);
    this.#file = file;
    this.#identity = identityOf(file);
  }

  /** Whether the path still leads to this file: SQLite goes on writing to one that was removed, and says nothing. */
  inPlace(): boolean {
    return identityOf(this.#file) === this.#identity;
  }

  /** Adds all rows in one transaction. */
  add(rows: readonly PendingRow[]): void {
    transaction(this.#db, () => {
      const statement = this.#db.prepare(ADD);
      for (const { tenant, day, model, key, counts } of rows) {
        statement.run(tenant, day, model, key, ...COUNTS.map((name) => atMost(counts[name], MAX_SUM)));
      }
    });
  }

  /** Rows by day, tenant, model and key. Its cost grows with the limit and not with the table. */
  select({ tenant, after, to, limit }: Range): StoredRow[] {
    const { day, model, key } = after;
    const rows =
      tenant === undefined
        ? this.#prepare(SELECT).all(day, after.tenant, model, key, to, limit)
        : this.#prepare(SELECT_OF_TENANT).all(tenant, day, model, key, to, limit);
    return rows as StoredRow[];
  }

  spent(kind: AccountKind, name: string, today: Day): SpentNow {
    const monthEnd = `${today.slice(0, 8)}31`;
    const days = this.#prepare(SPENT).all(kind, name, monthStart(today), monthEnd) as (Spent & {
      day: Day;
    })[];
    const spent = noSpending();
    for (const { day, costNano, tokens } of days) {
      for (const sum of day === today ? [spent.day, spent.month] : [spent.month]) {
        sum.costNano += costNano;
        sum.tokens += tokens;
      }
    }
    return spent;
  }

  /** A number that changes when another connection has written to the file, and not when this one has. */
  version(): number {
    return Number(pragma(this.#db, 'data_version'));
  }

  /** Waits up to five seconds for other processes from now on: at the end there is no event loop to hold up. */
  bePatient(): void {
    pragma(this.#db, `busy_timeout = ${PATIENT_MS}`);
  }

  /** Closes the file; what is in its log goes into the file itself first. */
  close(): void {
    try {
      pragma(this.#db, 'wal_checkpoint(TRUNCATE)');
    } finally {
      this.#db.close();
    }
  }

  /** Whole numbers come as BigInts, exact to the last digit. */
  #prepare(sql: string): Database.Statement {
    const statement = this.#statements.get(sql) ?? this.#db.prepare(sql).safeIntegers(true);
    this.#statements.set(sql, statement);
    return statement;
  }
}

const atMost = (value: bigint, max: bigint): bigint => (value < max ? value : max);
