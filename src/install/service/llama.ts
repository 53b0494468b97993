/** Provides a llama.cpp that the service's user can run. */
import { cp, mkdir, realpath, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { interruptible } from '../early/interrupt.mjs';
import { exists } from '../files.js';
import { ensureLlama } from '../llama/ensure.js';
import { resolveBinary } from '../../../workers/binary.js';
import type { ServiceUser } from './account.js';
import { ServiceError, type System } from './system.js';

/** The search path of services. */
const SEARCH_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin';

/** The checkout's llama.cpp, built if necessary. @throws ServiceError if it cannot be built */
export async function findBinary(root: string): Promise<string> {
  if (!(await interruptible((signal) => ensureLlama({ root, signal })))) {
    throw new ServiceError('llama.cpp is missing (see above), so nothing is installed');
  }
  return realpath((await resolveBinary({ root, searchPath: SEARCH_PATH })).path);
}

/**
 * Copies a build made by setup, which finds its libraries beside itself; an up-to-date copy stays. The copy belongs to
 * root, because a server should not be able to change its programs.
 *
 * @returns the copied program's path
 */
export async function copyBuild(binary: string, folder: string): Promise<string> {
  const source = path.dirname(path.dirname(binary));
  const build = path.join(folder, 'llama.cpp', path.basename(source));
  const copy = path.join(build, 'bin', path.basename(binary));
  if ((await modified(copy)) === (await modified(binary))) return copy;
  await mkdir(path.dirname(build), { recursive: true });
  await rm(`${build}.new`, { recursive: true, force: true });
  await cp(source, `${build}.new`, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true });
  await replace(build, `${build}.new`);
  return copy;
}

/** The modification time in whole milliseconds, which a copy preserves. */
const modified = async (file: string): Promise<number | undefined> =>
  (await stat(file).catch(() => undefined))?.mtime.getTime();

/** Replaces a folder that running programs may still have open. */
async function replace(folder: string, fresh: string): Promise<void> {
  await rm(`${folder}.old`, { recursive: true, force: true });
  if (await exists(folder)) await rename(folder, `${folder}.old`);
  await rename(fresh, folder);
  await rm(`${folder}.old`, { recursive: true, force: true });
}

/** @throws ServiceError if this user cannot run the configured binary */
export async function requireBinary(system: System, user: ServiceUser, binary: string): Promise<void> {
  if (await runs(system, user, binary)) return;
  throw new ServiceError(`User ${user.name} cannot run ${binary}: put it where every user can run it`);
}

const runs = async (system: System, user: ServiceUser, binary: string): Promise<boolean> =>
  (await system.run(binary, ['--version'], user)).ok;

/**
 * Copies the build if the user cannot run it, because it is usually in the cache of the user who made it.
 *
 * @param folder for copies
 * @returns the copy; undefined if the user can run the checkout's build
 * @throws ServiceError if neither can be run
 */
export async function reachableBinary(
  system: System,
  user: ServiceUser,
  binary: string,
  folder: string,
): Promise<string | undefined> {
  if (await runs(system, user, binary)) return undefined;
  const copy = (await isOurBuild(binary)) ? await copyBuild(binary, folder) : binary;
  await requireBinary(system, user, copy);
  return copy;
}

/** Whether a program belongs to a build made by setup, rather than to a shared folder such as /usr/bin. */
const isOurBuild = (binary: string): Promise<boolean> =>
  exists(path.join(path.dirname(binary), '../lmserv-build.json'));
