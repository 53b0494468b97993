import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { transformSync } from '@swc/core';
import Database from 'libsql';
import type { UsageEntry } from '../../../../src/accounts/usage/entry.js';
import type { UsageFilter } from '../../../../src/accounts/usage/pages.js';
import type { UsageStore } from '../../../../src/accounts/usage/store.js';
import { ROOT } from '../../../../src/config/root.js';

/** A date that stands still until it is changed; `now` is for the store. */
export class FakeDate {
  #ms = 0;
  readonly now = (): number => this.#ms;

  set(iso: string): void {
    this.#ms = Date.parse(iso);
  }

  add(ms: number): void {
    this.#ms += ms;
  }
}

export function entry(fields: Partial<UsageEntry> = {}): UsageEntry {
  return {
    tenant: 'acme',
    key: 'acme-key',
    model: 'm',
    promptTokens: 10,
    completionTokens: 5,
    costNano: 100,
    outcome: 'finished',
    ...fields,
  };
}

type Plain<Sums> = { [Name in keyof Sums]: Sums[Name] extends bigint ? number : Sums[Name] };

/** Converts bigints to numbers: shorter to write, and exact as far as these tests count. */
export function plain<Sums extends object>(sums: Sums): Plain<Sums> {
  const fields = Object.entries(sums).map(([name, value]) => [
    name,
    typeof value === 'bigint' ? Number(value) : value,
  ]);
  return Object.fromEntries(fields) as Plain<Sums>;
}

/** All rows of a report; pending rows are written first, if possible. */
export function rowsOf(store: UsageStore, filter?: UsageFilter) {
  return [...store.pages(filter)].flat().map(plain);
}

/** Runs `body` on a separate connection. */
export function withDatabase<Result>(file: string, body: (db: Database.Database) => Result): Result {
  const db = new Database(file);
  try {
    return body(db);
  } finally {
    db.close();
  }
}

/** Runs statements on a separate connection. */
export const execute = (file: string, sql: string): void => withDatabase(file, (db) => void db.exec(sql));

/** The first row of a query on a separate connection. */
export const firstRow = (file: string, sql: string): unknown =>
  withDatabase(file, (db) => db.prepare(sql).raw().get());

/** Requests on disk, without asking the store. */
export const requestsOnDisk = (file: string): unknown =>
  (firstRow(file, 'SELECT total(requests) FROM usage') as unknown[])[0];

/** Compiles the folders of `src` to JavaScript in `into`, where a plain Node can import them. */
export function compileSources(folders: string[], into: string): void {
  writeFileSync(join(into, 'package.json'), '{"type":"module"}');
  symlinkSync(join(ROOT, 'node_modules'), join(into, 'node_modules'));
  for (const name of folders.flatMap((folder) =>
    readdirSync(join(ROOT, folder)).map((file) => join(folder, file)),
  )) {
    if (!name.endsWith('.ts')) continue;
    const { code } = transformSync(readFileSync(join(ROOT, name), 'utf8'), {
      filename: name,
      jsc: { target: 'es2022', parser: { syntax: 'typescript' } },
      module: { type: 'es6' },
    });
    const target = join(into, name.replace(/\.ts$/, '.js'));
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, code);
  }
}

/** Runs `script`, an ES module, in `folder` until it succeeds; what it printed. */
export async function runScript(folder: string, script: string): Promise<string> {
  const args = ['--input-type=module', '-e', script];
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: folder, env: {} });
  return stdout;
}

/** Starts `script`, an ES module, in `folder`; it reports by `process.send`. */
export function startScript(folder: string, script: string): ChildProcess {
  return spawn(process.execPath, ['--input-type=module', '-e', script], {
    cwd: folder,
    env: {},
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
}

/** The next message of `child`; rejects if it exits instead. */
export function nextMessage(child: ChildProcess): Promise<unknown> {
  return new Promise((take, fail) => {
    const exited = (code: number | null): void => fail(new Error(`The child exited with ${code}`));
    child.once('exit', exited);
    child.once('message', (message) => {
      child.off('exit', exited);
      take(message);
    });
  });
}
