/** Gets llama.cpp's programs: pinned source and libraries, cached builds, links in the checkout. */
import { lstat, mkdir, readdir, readlink, rename, rm, symlink } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline/promises';
import { BinaryError, probeBinary } from '../../../workers/binary.js';
import { prepareCache, withLock } from '../early/lock.mjs';
import { exists, requireSpace } from '../files.js';
import type { ProgressStream } from '../progress.js';
import { chooseFlavours, chooseNamed, chooseNative, neededLibraries, type Candidate } from './choose.js';
import {
  FLAVOUR_NAMES,
  layoutOf,
  readPin,
  SetupError,
  UnfitError,
  type Flavour,
  type SetupContext,
} from './context.js';
import { readMachine, type Machine } from './machine.js';
import { nativePlan } from './native.js';
import { requireKnownTarballs } from './package.js';
import type { Plan } from './plan.js';
import { prebuiltPlan } from './prebuilt.js';
import { outputOf } from './programs.js';
import { obtainSource } from './source.js';
import { isComplete, writeStamp } from './stamp.js';
import { Steps } from './steps.js';
import { requireTools } from './tools.js';

export interface SetupOptions {
  /** The checkout. */
  root: string;
  gpu?: Flavour | 'auto';
  /** Compiles everything for this machine's CPU instead of using prebuilt libraries. */
  native?: boolean;
  /** Compilers in parallel; default: as many as cores and memory allow. */
  jobs?: number | undefined;
  /** Builds again even if there is a build. */
  force?: boolean;
  /** Tarballs of the pinned npm packages, to avoid the network. */
  tarballs?: readonly string[] | undefined;
  env?: NodeJS.ProcessEnv;
  signal?: AbortSignal | undefined;
  output?: ProgressStream;
  /** Asks the user; default: on a terminal. */
  confirm?: SetupContext['confirm'];
  /** What there is to choose by; default: this machine. */
  machine?: Machine;
}

export interface SetupResult {
  flavour: Flavour;
  /** Flavour and way, for messages. */
  label: string;
  /** llama-cli's path in the checkout. */
  binary: string;
  /** Whether an earlier build from the cache was used. */
  cached: boolean;
}

/** Compiling the largest of llama.cpp's files takes about this many bytes of memory. */
const MEMORY_PER_JOB = 1.5e9;

const PROGRAMS = ['llama-cli', 'llama-server'];

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
  const { layout, output, signal } = context;
  await prepareCache(context.env);
  await mkdir(layout.base, { recursive: true });
  await requireKnownTarballs(context);
  const plans = await plansOf(options, context);
  const onWait = (holder: number | string): void => {
    output.write(`Another setup (process ${holder}) is using ${layout.base}; waiting for it.\n`);
  };
  const { plan, folder, cached } = await withLock(layout.lock, { signal, onWait }, () =>
    buildFirst(context, plans, options),
  );
  const link = layout.buildLink(plan.flavour);
  await linkInto(link, folder, layout.base);
  if (await exists(layout.source)) await linkInto(layout.sourceLink, layout.source, layout.base);
  return { flavour: plan.flavour, label: plan.label, cached, binary: path.join(link, 'bin/llama-cli') };
}

async function contextOf(options: SetupOptions): Promise<SetupContext> {
  const { root, env = process.env, signal, output = process.stderr, tarballs = [] } = options;
  const pin = await readPin(root);
  const confirm = 'confirm' in options ? options.confirm : terminalConfirm(signal);
  const layout = layoutOf(pin, root, env);
  return { root, env, signal, output, confirm, pin, layout, tarballs, jobs: options.jobs ?? defaultJobs() };
}

/** Asks on the terminal; anything but y is no. */
function terminalConfirm(signal: AbortSignal | undefined): SetupContext['confirm'] {
  if (!process.stdin.isTTY || !process.stderr.isTTY) return undefined;
  return async (question) => {
    const terminal = createInterface({ input: process.stdin, output: process.stderr });
    try {
      const answer = await terminal.question(`${question} [y/N] `, signal ? { signal } : {});
      return /^y(es)?$/i.test(answer.trim());
    } finally {
      terminal.close();
    }
  };
}

/** The builds to try, the best first, and says what was chosen and why. */
async function plansOf(options: SetupOptions, context: SetupContext): Promise<Plan[]> {
  const { pin, env, output } = context;
  const machine = options.machine ?? (await readMachine(neededLibraries(pin), env));
  const { candidates, notes } = await candidatesOf(options, context, machine);
  for (const note of notes) output.write(`${note}\n`);
  const [first] = candidates;
  output.write(`llama.cpp for ${FLAVOUR_NAMES[first!.flavour]}: ${first!.reason}.\n`);
  const prebuilt = candidates.flatMap(({ flavour, libraries }) =>
    libraries ? [prebuiltPlan(flavour, libraries, machine.libraries)] : [],
  );
  if (prebuilt.length === 0 && !options.native)
    output.write(
      `There are no prebuilt libraries for this on ${machine.platform}, so all of llama.cpp is compiled.\n`,
    );
  const last = candidates.at(-1)!.flavour;
  return [...prebuilt, await nativePlan(last, env)];
}

async function candidatesOf(
  { gpu = 'auto', native = false }: SetupOptions,
  { pin, env }: SetupContext,
  machine: Machine,
): Promise<{ candidates: Candidate[]; notes: string[] }> {
  if (native) {
    const named = gpu === 'auto' ? chooseNative(machine) : { flavour: gpu, reason: 'as asked for' };
    return { candidates: [named], notes: [] };
  }
  if (gpu === 'auto') return chooseFlavours(pin, machine, env);
  return { candidates: [await chooseNamed(gpu, pin, machine, env)], notes: [] };
}

interface Built {
  plan: Plan;
  folder: string;
  cached: boolean;
}

/** Builds while holding the cache's lock, so that a second clone finds the build of the first. */
async function buildFirst(
  context: SetupContext,
  plans: readonly Plan[],
  options: SetupOptions,
): Promise<Built> {
  const [plan, ...others] = plans;
  const folder = context.layout.made(plan!.name, plan!.inputs);
  try {
    const cached = await buildOnce(context, plan!, folder, options.force === true);
    if (options.gpu === undefined || options.gpu === 'auto') await requireDevice(context, plan!, folder);
    return { plan: plan!, folder, cached };
  } catch (error) {
    // Libraries that cannot be used here are not used for another flavour either.
    const next =
      error instanceof UnfitError ? others.filter(({ prebuilt }) => !prebuilt || error.device) : [];
    if (next.length === 0) throw error;
    context.output.write(`${(error as Error).message}\nNext: ${next[0]!.label}.\n`);
    return buildFirst(context, next, options);
  }
}

/** @returns whether there is a complete build already */
async function buildOnce(
  context: SetupContext,
  plan: Plan,
  folder: string,
  force: boolean,
): Promise<boolean> {
  if (force) await startOver(context, folder);
  if (await isComplete(folder)) return true;
  await requireTools(plan.tools, context);
  await requireRoom(context, plan, folder);
  await obtainSource(context);
  await Steps.logTo(`${folder}.log`, context, (steps) => plan.make(context, folder, steps));
  for (const name of PROGRAMS) await requireRunning(path.join(folder, 'bin', name), context.env);
  await keepPrograms(folder);
  await writeStamp(folder, {
    llamaVersion: context.pin.llamaVersion,
    commit: context.pin.commit,
    label: plan.label,
  });
  return false;
}

async function startOver({ layout }: SetupContext, folder: string): Promise<void> {
  await Promise.all([folder, layout.source].map((each) => rm(each, { recursive: true, force: true })));
}

/** Not needed for an unfinished build, which already takes its space. */
async function requireRoom({ layout }: SetupContext, { space }: Plan, folder: string): Promise<void> {
  if (await exists(folder)) return;
  await requireSpace(layout.base, space).catch((error: Error) => {
    throw new SetupError(error.message, [
      'Free some space, or set LMSERV_CACHE_DIR to a folder on another disk.',
    ]);
  });
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

/** @throws UnfitError if a build for GPUs that nobody asked for finds none */
async function requireDevice({ env }: SetupContext, { flavour }: Plan, folder: string): Promise<void> {
  if (flavour !== 'cuda' && flavour !== 'vulkan') return;
  const listed = (await outputOf(path.join(folder, 'bin/llama-cli'), ['--list-devices'], env)) ?? '';
  const devices = listed.split('\n').filter((line) => /^ +(CUDA|Vulkan)\d+: (?!llvmpipe)/.test(line));
  if (devices.length > 0) return;
  throw new UnfitError(`${FLAVOUR_NAMES[flavour]} lists no device here.`, [], true);
}

/** Removes objects and static libraries, which are three quarters of a build and useless afterwards. */
async function keepPrograms(folder: string): Promise<void> {
  const others = (await readdir(folder)).filter((name) => name !== 'bin');
  await Promise.all(others.map((name) => rm(path.join(folder, name), { recursive: true, force: true })));
}

/**
 * Replaces a link atomically, so that it always exists.
 * @throws SetupError for a folder that setup did not make, and for a link to one
 */
async function linkInto(link: string, target: string, base: string): Promise<void> {
  if (await isForeign(link, base)) {
    throw new SetupError(`${link} is not a link that setup made, so setup leaves it alone.`, [
      `Move it away and run setup again, or set LLM_BIN_PATH to a binary; the new build is in ${target}.`,
    ]);
  }
  await mkdir(path.dirname(link), { recursive: true });
  const fresh = `${link}.${process.pid}.new`;
  await symlink(target, fresh);
  await rename(fresh, link);
}

/** Whether something is there that is not a link into a cache of ours; links that lead nowhere do not matter. */
async function isForeign(link: string, base: string): Promise<boolean> {
  const existing = await lstat(link).catch(() => undefined);
  if (existing === undefined) return false;
  if (!existing.isSymbolicLink()) return true;
  const target = path.resolve(path.dirname(link), await readlink(link));
  if (!(await exists(target))) return false;
  const ours = path.dirname(target) === base || (await exists(path.join(path.dirname(target), 'setup.lock')));
  return !ours && !(await isComplete(target));
}
