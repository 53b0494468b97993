/**
 * A lock between processes: a file that names its holder. The lock of a holder that died without releasing it (SIGKILL,
 * power cut) is recognised by process id and start time, and is taken over.
 */
import { createHash } from 'node:crypto';
import { constants, readFileSync } from 'node:fs';
import { access, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { homedir, hostname } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = 50;
/** A lock file without readable content is being written; one this old was left by a crash in that instant. */
const UNREADABLE_STALE_MS = 10_000;

/** The cache cannot be used; the message says what to do. */
export class CacheError extends Error {}

const REMEDY = 'set LMSERV_CACHE_DIR to a folder that this account may write';

/** The folder for what outlives a checkout. @throws CacheError for an account without a home folder */
export function cacheDir(env = process.env) {
  return env.LMSERV_CACHE_DIR || path.join(env.XDG_CACHE_HOME || path.join(home(), '.cache'), 'lmserv');
}

function home() {
  try {
    const folder = homedir();
    if (folder !== '') return folder;
  } catch {
    // A user id without an entry in the table of users has none.
  }
  throw new CacheError(`This account has no home folder: ${REMEDY}`);
}

/** Makes sure that the folder for what outlives a checkout can be written. @throws CacheError */
export async function prepareCache(env = process.env) {
  const folder = cacheDir(env);
  try {
    await mkdir(folder, { recursive: true });
    await access(folder, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw new CacheError(`The cache ${folder} cannot be written (${error.code}): ${REMEDY}`);
  }
}

/** The lock file of a checkout, kept outside of it so that neither git nor npm ci touches it. */
export function checkoutLock(root) {
  const id = createHash('sha256').update(root).digest('hex').slice(0, 16);
  return path.join(cacheDir(), 'locks', `${id}.lock`);
}

/** Start time of a process in clock ticks since boot, to recognise a reused process id. Linux only. */
function startedAt(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}

function isAlive({ pid, host, started }) {
  if (host !== hostname()) return true;
  try {
    process.kill(pid, 0);
  } catch (error) {
    return error.code === 'EPERM';
  }
  const now = startedAt(pid);
  return started === undefined || now === undefined || now === started;
}

async function create(file) {
  const holder = { pid: process.pid, host: hostname(), started: startedAt(process.pid) };
  try {
    await writeFile(file, JSON.stringify(holder), { flag: 'wx' });
    return true;
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    // Made but not written, on a full disk.
    await rm(file, { force: true });
    throw error;
  }
}

/** @returns the holder; 'gone' when the lock was released; 'stale' when the holder died */
async function inspect(file) {
  try {
    const holder = JSON.parse(await readFile(file, 'utf8'));
    return isAlive(holder) ? holder : 'stale';
  } catch (error) {
    if (error.code === 'ENOENT') return 'gone';
    const age = await stat(file).then(
      ({ mtimeMs }) => Date.now() - mtimeMs,
      () => 0,
    );
    return age > UNREADABLE_STALE_MS ? 'stale' : { pid: 'unknown' };
  }
}

/**
 * Removes a dead holder's lock. Only the holder of the second file may do so, or two could each remove the other's new lock.
 * @returns whether to try for the lock at once
 */
async function removeStale(file) {
  const guard = `${file}.takeover`;
  if (!(await create(guard))) {
    if ((await inspect(guard)) !== 'stale') return false;
    await rm(guard, { force: true });
    return true;
  }
  try {
    if ((await inspect(file)) === 'stale') await rm(file, { force: true });
    return true;
  } finally {
    await rm(guard, { force: true });
  }
}

async function acquire(file, { signal, onWait }) {
  await mkdir(path.dirname(file), { recursive: true });
  let reported = false;
  while (!(await create(file))) {
    const state = await inspect(file);
    if (state === 'gone' || (state === 'stale' && (await removeStale(file)))) continue;
    if (!reported && state !== 'stale') onWait?.(state.pid);
    reported ||= state !== 'stale';
    await sleep(POLL_MS, undefined, { signal }).catch(() => signal.throwIfAborted());
  }
}

/**
 * Runs a task while holding a lock.
 * @param onWait called once with the holder's process id when the lock is taken
 * @throws what the signal was aborted with, while waiting
 */
export async function withLock(file, options, task) {
  await acquire(file, options);
  try {
    return await task();
  } finally {
    await rm(file, { force: true });
  }
}
