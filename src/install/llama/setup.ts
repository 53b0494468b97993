/** Gets and builds llama.cpp: pinned source, cached build, links in the checkout. */
import { lstat, mkdir, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { BinaryError, probeBinary } from '../../../workers/binary.js';
import { prepareCache, withLock } from '../early/lock.mjs';
import { requireSpace } from '../files.js';
import { exists } from '../files.js';
import type { ProgressStream } from '../progress.js';
import { build } from './build.js';
import { layoutOf, readPin, SetupError, type Flavour, type SetupContext } from './context.js';
import { cmakeFlags, detectFlavour, flagsHash } from './flavour.js';
import { obtainSource } from './source.js';
import { requireTools } from './tools.js';

export interface SetupOptions {
  /** The checkout. */
  root: string;
  gpu?: Flavour | 'auto';
  /** Compilers in parallel; default: as many as cores and memory allow. */
  jobs?: number | undefined;
  /** Builds again even if there is a build. */
  force?: boolean;
  /** The npm package's tarball, to avoid the network. */
  tarball?: string | undefined;
  env?: NodeJS.ProcessEnv;
  signal?: AbortSignal | undefined;
  output?: ProgressStream;
}

export interface SetupResult {
  flavour: Flavour;
  /** llama-cli's path in the checkout. */
  binary: string;
  /** Whether an earlier build from the cache was used. */
  cached: boolean;
}

/** Compiling the largest of llama.cpp's files takes about this many bytes of memory. */
const MEMORY_PER_JOB = 1.5e9;

/** Peak size of a first build, bytes, measured for the CPU and with a margin. */
const SPACE_NEEDED: Record<Flavour, number> = { cpu: 0.6e9, metal: 0.8e9, vulkan: 1.5e9, cuda: 4e9 };

/** One compiler per core, fewer if memory is short. */
export function defaultJobs(cores = os.availableParallelism(), memory = process.availableMemory()): number {
  return Math.max(1, Math.min(cores, Math.floor(memory / MEMORY_PER_JOB)));
}

/**
 * Provides llama-cli and llama-server of the requested flavour in the checkout.
 * @throws SetupError to show to the user; the signal's reason when it aborts
 */
export async function setup(options: SetupOptions): Promise<SetupResult> {
  const context = await contextOf(options);
  const { layout, output, signal, flavour } = context;
  await prepareCache(context.env);
  await mkdir(layout.base, { recursive: true });
  const onWait = (holder: number | string): void => {
    output.write(`Another setup (process ${holder}) is using ${layout.base}; waiting for it.\n`);
  };
  const cached = await withLock(layout.lock, { signal, onWait }, () => buildOnce(context, options));
  await linkInto(layout.buildLink, layout.build);
  if (await exists(layout.source)) await linkInto(layout.sourceLink, layout.source);
  return { flavour, cached, binary: path.join(layout.buildLink, 'bin/llama-cli') };
}

async function contextOf(options: SetupOptions): Promise<SetupContext> {
  const { root, env = process.env, signal, output = process.stderr } = options;
  const [pin, flavour] = [await readPin(root), await chooseFlavour(options, env)];
  const flags = await cmakeFlags(flavour, env);
  const layout = layoutOf(pin, flavour, await flagsHash(flags), root, env);
  return { root, env, signal, output, pin, flavour, flags, layout, jobs: options.jobs ?? defaultJobs() };
}

async function chooseFlavour(options: SetupOptions, env: NodeJS.ProcessEnv): Promise<Flavour> {
  if (options.gpu !== undefined && options.gpu !== 'auto') return options.gpu;
  const { flavour, note } = await detectFlavour(env);
  if (note !== undefined) (options.output ?? process.stderr).write(`${note}\n`);
  return flavour;
}

/** Builds while holding the cache's lock, so that a second clone finds the build of the first. */
async function buildOnce(context: SetupContext, options: SetupOptions): Promise<boolean> {
  const { layout } = context;
  if (options.force) {
    await Promise.all(
      [layout.build, layout.source].map((folder) => rm(folder, { recursive: true, force: true })),
    );
  }
  if (await exists(layout.stamp)) return true;
  await requireTools(context.flavour, context.env);
  await requireRoom(context);
  await obtainSource(context, options.tarball);
  await build(context);
  await finishBuild(context);
  return false;
}

/** Not needed for an unfinished build, which already takes its space. */
async function requireRoom({ layout, flavour }: SetupContext): Promise<void> {
  if (await exists(layout.build)) return;
  await requireSpace(layout.base, SPACE_NEEDED[flavour]).catch((error: Error) => {
    throw new SetupError(error.message, [
      'Free some space, or set LMSERV_CACHE_DIR to a folder on another disk.',
    ]);
  });
}

/** Checks that both programs run here, then marks the build as complete. */
async function finishBuild({ layout, pin, flavour, flags, env }: SetupContext): Promise<void> {
  for (const name of ['llama-cli', 'llama-server'])
    await requireRunning(path.join(layout.build, 'bin', name), env);
  await keepPrograms(layout.build);
  const made = { llamaVersion: pin.llamaVersion, commit: pin.commit, flavour, flags };
  await writeFile(layout.stamp, `${JSON.stringify(made, null, 2)}\n`);
}

/** @throws SetupError when a program that was just built does not run here (no driver, wrong toolkit) */
async function requireRunning(file: string, env: NodeJS.ProcessEnv): Promise<void> {
  try {
    await probeBinary(file, env);
  } catch (error) {
    if (!(error instanceof BinaryError)) throw error;
    const hint = 'For a GPU build, check its driver; `npm run setup -- --gpu cpu` builds for the CPU.';
    throw new SetupError(`llama.cpp is built but does not run here: ${error.message}`, [hint], {
      cause: error,
    });
  }
}

/** Removes objects and static libraries, which are three quarters of a build and useless afterwards. */
async function keepPrograms(build: string): Promise<void> {
  const others = (await readdir(build)).filter((name) => name !== 'bin');
  await Promise.all(others.map((name) => rm(path.join(build, name), { recursive: true, force: true })));
}

/** Replaces a link atomically, so that it always exists. @throws SetupError for a folder that setup did not make */
async function linkInto(link: string, target: string): Promise<void> {
  const existing = await lstat(link).catch(() => undefined);
  if (existing !== undefined && !existing.isSymbolicLink()) {
    throw new SetupError(`${link} is not a link that setup made, so setup leaves it alone.`, [
      `Move it away and run setup again, or set LLM_BIN_PATH to a binary; the new build is in ${target}.`,
    ]);
  }
  await mkdir(path.dirname(link), { recursive: true });
  const fresh = `${link}.${process.pid}.new`;
  await symlink(target, fresh);
  await rename(fresh, link);
}
