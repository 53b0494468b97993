/**
 * The SQLite file of the usage table: opening it, its schema and its statements. All are synchronous except checkpoints,
 * which wait for the disk.
 */

import { closeSync, existsSync, mkdirSync, openSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import Database from 'libsql';
import AsyncDatabase from 'libsql/promise';
import { monthStart, type Day } from './day.js';
import { COUNTS, type UsageCounts } from './entry.js';
import type { PendingRow } from './pending.js';
import { noSpending, type AccountKind, type Spent, type SpentNow } from './spending.js';
import { UserError } from '../../errors.js';

/** The usage file cannot be used; the message names it and says what to do. */
export class UsageFileError extends UserError {}

/** The position of a row in a report, which is ordered by day, tenant, model and key. */
export interface Position {
  readonly day: Day;
  readonly tenant: string;
  readonly model: string;
  readonly key: string;
}

/** A row of the table. */
export type StoredRow = Position & UsageCounts;

/** A part of a report that one statement reads. */
export interface Range {
  /** Only rows of this tenant; undefined means all tenants. */
  readonly tenant?: string | undefined;
  /** The position just before the first row. */
  readonly after: Position;
  /** The last day, included. */
  readonly to: Day;
  /** Max number of rows. */
  readonly limit: number;
}

/** SQLite's largest integer. A larger sum would become a fraction, which STRICT rejects. */
const MAX_SUM = 2n ** 63n - 1n;

/** Each migration upgrades the schema by one version; `user_version` counts them. Only append, never change one. */
export const MIGRATIONS: readonly string[] = [
  `CREATE TABLE usage (
     tenant TEXT NOT NULL, day TEXT NOT NULL, model TEXT NOT NULL, key TEXT NOT NULL,
     requests INTEGER NOT NULL, promptTokens INTEGER NOT NULL, completionTokens INTEGER NOT NULL,
     costNano INTEGER NOT NULL, cancelled INTEGER NOT NULL, broken INTEGER NOT NULL, refused INTEGER NOT NULL,
     PRIMARY KEY (tenant, day, model, key)
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX usage_by_key ON usage (key, day)`,
  // Budgets read at most 31 rows of `spent`, however many rows a key with many tenants has in `usage`. Triggers keep it
  // correct whichever process writes. Reports read `usage_by_day` in parts, in the order of the report.
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

/** total() never overflows but returns a fraction. */
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

// Increments instead of totals, so that the counts of two processes add up.
const ADD = `INSERT INTO usage (tenant, day, model, key, ${COUNTS.join(', ')})
  VALUES (?, ?, ?, ?, ${COUNTS.map(() => '?').join(', ')})
  ON CONFLICT DO UPDATE SET ${COUNTS.map((name) => `${name} = min(${name} + excluded.${name}, ${MAX_SUM})`).join(', ')}`;

const COLUMNS = `day, tenant, model, key, ${COUNTS.join(', ')}`;

const SELECT = `SELECT ${COLUMNS} FROM usage WHERE (day, tenant, model, key) > (?, ?, ?, ?) AND day <= ?
  ORDER BY day, tenant, model, key LIMIT ?`;

const SELECT_OF_TENANT = `SELECT ${COLUMNS} FROM usage
  WHERE tenant = ? AND (day, model, key) > (?, ?, ?) AND day <= ? ORDER BY day, model, key LIMIT ?`;

const SPENT = 'SELECT day, costNano, tokens FROM spent WHERE kind = ? AND name = ? AND day BETWEEN ? AND ?';

/**
 * Max wait for another process when opening and closing, milliseconds. Statements in between never wait, because they
 * would block the event loop.
 */
const BUSY_TIMEOUT_MS = 5000;

/** Number of rows written between two checkpoints; each adds up to five pages of 4 KiB to the log. */
const CHECKPOINT_ROWS = 500;

export function errorCode(thrown: unknown): unknown {
  return (thrown as { code?: unknown }).code;
}

/** The error's message, preceded by SQLite's code if it has one. */
export function describeCause(thrown: unknown): string {
  const { code, message } = thrown as { code?: unknown; message?: unknown };
  return typeof code === 'string' && code !== '' ? `${code}: ${String(message)}` : String(message);
}

/** Creates one level at a time: Node's recursive mkdir never ends in places such as /proc. */
function createFolder(folder: string): void {
  if (existsSync(folder)) return;
  createFolder(dirname(folder));
  try {
    mkdirSync(folder, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

/** Creates the file and missing folders, readable by the owner only; leaves existing ones unchanged. */
function createPrivately(file: string): void {
  createFolder(dirname(file));
  try {
    closeSync(openSync(file, 'wx', 0o600));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

/** Runs `body` as one write transaction. */
function transaction(db: Database.Database, body: () => void): void {
  db.exec('BEGIN IMMEDIATE');
  try {
    body();
    db.exec('COMMIT');
  } catch (error) {
    // After some errors SQLite has already rolled back; a second ROLLBACK would hide the cause.
    if (db.inTransaction) db.exec('ROLLBACK');
    throw error;
  }
}

/** Runs a pragma and returns its first value, if any. */
function pragma(db: Database.Database, source: string): unknown {
  const [row] = db.prepare(`PRAGMA ${source}`).all() as Record<string, unknown>[];
  return row && Object.values(row)[0];
}

/**
 * Upgrades the schema of `db` to the last migration.
 *
 * @throws UsageFileError when the file was written by a newer version or by another program.
 */
export function migrate(db: Database.Database, file: string, migrations = MIGRATIONS): void {
  transaction(db, () => {
    const version = Number(pragma(db, 'user_version'));
    if (version > migrations.length) {
      throw new UsageFileError(
        `The usage file ${file} was written by a newer version of LMServ; upgrade LMServ or use another file`,
      );
    }
    if (version === 0 && db.prepare('SELECT 1 FROM sqlite_schema LIMIT 1').get() !== undefined) {
      throw new UsageFileError(`The usage file ${file} is the database of another program; use another file`);
    }
    for (const step of migrations.slice(version)) db.exec(step);
    db.exec(`PRAGMA user_version = ${migrations.length}`);
  });
}

function prepareFile(db: Database.Database, file: string, check: boolean): void {
  pragma(db, 'journal_mode = WAL');
  pragma(db, 'synchronous = NORMAL');
  pragma(db, 'wal_autocheckpoint = 0');
  // Truncates a log that a long transaction or a reader has made large.
  pragma(db, `journal_size_limit = ${16 * 2 ** 20}`);
  const health = check ? pragma(db, 'quick_check(1)') : 'ok';
  if (health !== 'ok') throw new UsageFileError(damaged(file, String(health)));
  migrate(db, file);
  pragma(db, 'busy_timeout = 0');
}

const damaged = (file: string, cause: string): string =>
  `The usage file ${file} is damaged or not an SQLite database (${cause}); ` +
  'restore it from a copy or move it away (LMServ does not overwrite it)';

function openError(file: string, thrown: unknown): UsageFileError {
  if (thrown instanceof UsageFileError) return thrown;
  const { code } = thrown as { code?: unknown };
  const cause = describeCause(thrown);
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
    db = new Database(file, { timeout: serving ? 0 : BUSY_TIMEOUT_MS });
    prepareFile(db, file, !serving);
    return db;
  } catch (thrown) {
    db?.close();
    throw openError(file, thrown);
  }
}

/** Identifies the file at a path; undefined if there is none. */
function identifyFile(file: string): string | undefined {
  const stats = statSync(file, { bigint: true, throwIfNoEntry: false });
  return stats && `${stats.dev} ${stats.ino}`;
}

/**
 * The usage table of one file. Its methods throw SQLite's errors, without waiting when another process holds a lock; the
 * store handles them.
 */
export class UsageTable {
  readonly #db: Database.Database;
  readonly #file: string;
  readonly #identity: string | undefined;
  readonly #statements = new Map<string, Database.Statement>();
  /** Number of rows written since the last checkpoint began. */
  #unmoved = 0;
  #checkpointing = false;

  /**
   * @param serving true while requests are served: opening does not wait for a lock, and skips the check of the file.
   * @throws UsageFileError
   */
  constructor(file: string, { serving = false } = {}) {
    this.#db = openDatabase(file, serving);
    this.#file = file;
    this.#identity = identifyFile(file);
  }

  /** Whether the path still leads to this file; SQLite keeps writing to a removed file without an error. */
  inPlace(): boolean {
    return identifyFile(this.#file) === this.#identity;
  }

  /** Adds all rows in one transaction. */
  add(rows: readonly PendingRow[]): void {
    transaction(this.#db, () => {
      const statement = this.#db.prepare(ADD);
      for (const { tenant, day, model, key, counts } of rows) {
        statement.run(tenant, day, model, key, ...COUNTS.map((name) => min(counts[name], MAX_SUM)));
      }
    });
    this.#unmoved += rows.length;
  }

  /**
   * Moves the log into the file from time to time. Another thread does it, because it waits for the disk, which would
   * pause the event loop. While it fails, the log grows.
   */
  async checkpointIfDue(): Promise<void> {
    if (this.#checkpointing || this.#unmoved < CHECKPOINT_ROWS) return;
    this.#checkpointing = true;
    this.#unmoved = 0;
    let db: AsyncDatabase | undefined;
    try {
      db = new AsyncDatabase(this.#file, { timeout: 0 });
      // Passive, because the other kinds keep this connection from writing.
      await db.exec('PRAGMA wal_checkpoint(PASSIVE)');
    } catch {
      // The disk is full, or another process holds a lock; writing reports it.
    } finally {
      db?.close();
      this.#checkpointing = false;
    }
  }

  /** Rows by day, tenant, model and key. The cost depends on the limit, not on the size of the table. */
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

  /** A number that changes when another connection, not this one, has written to the file. */
  version(): number {
    return Number(pragma(this.#db, 'data_version'));
  }

  /** Makes statements wait up to five seconds for other processes; at shutdown there is no event loop to block. */
  useLongBusyTimeout(): void {
    pragma(this.#db, `busy_timeout = ${BUSY_TIMEOUT_MS}`);
  }

  /** Moves the log into the file and closes it. */
  close(): void {
    const deadline = performance.now() + BUSY_TIMEOUT_MS;
    try {
      // SQLite does not wait for the other thread's checkpoint.
      while (pragma(this.#db, 'wal_checkpoint(TRUNCATE)') === 1 && performance.now() < deadline) pause(10);
    } finally {
      this.#db.close();
    }
  }

  /** Statements return integers as BigInts, which are exact to the last digit. */
  #prepare(sql: string): Database.Statement {
    const statement = this.#statements.get(sql) ?? this.#db.prepare(sql).safeIntegers(true);
    this.#statements.set(sql, statement);
    return statement;
  }
}

/** Blocks this thread. */
function pause(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

const min = (a: bigint, b: bigint): bigint => (a < b ? a : b);
