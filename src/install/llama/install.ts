/** After the build: only what runs is kept, marked as whole, and linked into the checkout. */
import { lstat, mkdir, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { BinaryError, probeBinary } from '../../../workers/binary.js';
import type { SetupContext } from './context.js';
import { SetupError } from './errors.js';

/** Objects and libraries for linking are three quarters of a build and of no use afterwards. */
async function keepPrograms(build: string): Promise<void> {
  const others = (await readdir(build)).filter((name) => name !== 'bin');
  await Promise.all(others.map((name) => rm(path.join(build, name), { recursive: true, force: true })));
}

/** @throws SetupError when a program that was just built does not run here (no driver, wrong toolkit) */
async function requireRunning(file: string, env: NodeJS.ProcessEnv): Promise<void> {
  try {
    await probeBinary(file, env);
  } catch (error) {
    if (!(error instanceof BinaryError)) throw error;
    const hint = 'For a GPU build look at its driver; `npm run setup -- --gpu cpu` builds for the CPU.';
    throw new SetupError(`llama.cpp is built but does not run here: ${error.message}`, [hint], {
      cause: error,
    });
  }
}

/** Checks that both programs run here, then marks the build as whole. */
export async function finishBuild({ layout, pin, flavour, flags, env }: SetupContext): Promise<void> {
  for (const name of ['llama-cli', 'llama-server'])
    await requireRunning(path.join(layout.build, 'bin', name), env);
  await keepPrograms(layout.build);
  const made = { llamaVersion: pin.llamaVersion, commit: pin.commit, flavour, flags };
  await writeFile(layout.stamp, `${JSON.stringify(made, null, 2)}\n`);
}

/** Replaces a link in one step, so that there is always one. @throws SetupError for a folder of the user's own */
export async function linkInto(link: string, target: string): Promise<void> {
  const existing = await lstat(link).catch(() => undefined);
  if (existing !== undefined && !existing.isSymbolicLink()) {
    throw new SetupError(`${link} is a folder of your own, so setup leaves it alone.`, [
      `Move it away and run setup again, or set LLM_BIN_PATH to a binary; the new build is in ${target}.`,
    ]);
  }
  await mkdir(path.dirname(link), { recursive: true });
  const fresh = `${link}.${process.pid}.new`;
  await symlink(target, fresh);
  await rename(fresh, link);
}
