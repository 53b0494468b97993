/** Shared by the usage tests: a folder of its own, a clock to set, a second connection, the sources for a child process. */

import { execFile, spawn, type ChildProcess } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { transformSync } from '@swc/core';
import Database from 'libsql';
import type { UsageEntry } from '../../../../src/accounts/usage/entry.js';
import type { UsageFilter } from '../../../../src/accounts/usage/pages.js';
import type { UsageStore } from '../../../../src/accounts/usage/store.js';

export function temporaryFolder(): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), 'lmserv-usage-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

export function clockAt(iso: string): {
  now: () => number;
  set: (iso: string) => void;
  add: (ms: number) => void;
} {
  let ms = Date.parse(iso);
  return {
    now: () => ms,
    set: (text) => {
      ms = Date.parse(text);
    },
    add: (more) => {
      ms += more;
    },
  };
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

/** Whole numbers as JavaScript's: shorter to write, and exact as far as these tests count. */
export function plain<Sums extends object>(sums: Sums): Plain<Sums> {
  const fields = Object.entries(sums).map(([name, value]) => [
    name,
    typeof value === 'bigint' ? Number(value) : value,
  ]);
  return Object.fromEntries(fields) as Plain<Sums>;
}

/** All rows of a report, in one go; what is pending is written first, if it can be. */
export function rowsOf(store: UsageStore, filter?: UsageFilter) {
  return [...store.pages(filter)].flat().map(plain);
}

/** Runs `body` on a connection of its own. */
export function withDatabase<Result>(file: string, body: (db: Database.Database) => Result): Result {
  const db = new Database(file);
  try {
    return body(db);
  } finally {
    db.close();
  }
}

/** Requests on disk, read past the store. */
export function requestsOnDisk(file: string): number {
  return withDatabase(file, (db) => {
    const row = db.prepare('SELECT total(requests) AS sum FROM usage').get() as { sum: number };
    return row.sum;
  });
}

const ROOT = resolve(import.meta.dirname, '../../../..');

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

/** Runs `script`, an ES module, in `folder` and waits until it has ended well; gives what it printed. */
export async function runScript(folder: string, script: string): Promise<string> {
  const args = ['--input-type=module', '-e', script];
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: folder, env: {} });
  return stdout;
}

/** Starts `script`, an ES module, in `folder`; it can talk by `process.send`. */
export function startScript(folder: string, script: string): ChildProcess {
  return spawn(process.execPath, ['--input-type=module', '-e', script], {
    cwd: folder,
    env: {},
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
}

/** Waits for the next message of `child`; one that exits instead is an error, not a wait for ever. */
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
