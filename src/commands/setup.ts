/** `npm run setup`: the command line of setup. */
import path from 'node:path';
import { parseArgs } from 'node:util';
import { interruptible } from '../install/early/interrupt.mjs';
import { SetupError } from '../install/llama/errors.js';
import { FLAVOURS, type Flavour } from '../install/llama/flavour.js';
import { setup, type SetupOptions } from '../install/llama/setup.js';

const USAGE = `npm run setup -- [options]: gets the pinned llama.cpp and builds llama-cli and llama-server
  --gpu auto|cuda|vulkan|metal|cpu  what to build for (auto: CUDA when nvcc and a GPU are found, Metal on a Mac)
  --jobs N                          compilers at once (as many as cores and memory allow)
  --tarball FILE                    the npm package's tarball, to need no network
  --force                           start over: new source, new build`;

const OPTIONS = {
  gpu: { type: 'string', default: 'auto' },
  jobs: { type: 'string' },
  tarball: { type: 'string' },
  force: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

function parseGpu(value: string): Flavour | 'auto' {
  const found = (['auto', ...FLAVOURS] as const).find((name) => name === value);
  if (found === undefined) throw new SetupError(`--gpu ${value}: one of auto, ${FLAVOURS.join(', ')}`);
  return found;
}

function parseJobs(value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  if (!/^[1-9]\d{0,3}$/.test(value)) throw new SetupError(`--jobs ${value}: a number from 1`);
  return Number(value);
}

/** @returns what to do; undefined when help was asked for. @throws SetupError for a bad option */
export function parseSetupArgs(args: readonly string[], root: string): SetupOptions | undefined {
  try {
    const { values } = parseArgs({ args: [...args], options: OPTIONS });
    if (values.help) return undefined;
    const tarball = values.tarball === undefined ? undefined : path.resolve(values.tarball);
    return { root, gpu: parseGpu(values.gpu), jobs: parseJobs(values.jobs), tarball, force: values.force };
  } catch (error) {
    if (error instanceof SetupError) throw error;
    throw new SetupError(error instanceof Error ? error.message : String(error), [USAGE]);
  }
}

async function run(args: readonly string[], root: string): Promise<void> {
  const options = parseSetupArgs(args, root);
  if (options === undefined) return void process.stdout.write(`${USAGE}\n`);
  const { binary, flavour, cached } = await interruptible((signal) => setup({ ...options, signal }));
  const how = cached ? 'was built before' : 'is built';
  process.stdout.write(`llama.cpp for ${flavour} ${how}: ${path.relative(process.cwd(), binary)}\n`);
}

/** Runs the command; a failure is written in one screen and makes the exit code 1. */
export async function main(args: readonly string[], { root }: { root: string }): Promise<void> {
  try {
    await run(args, root);
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    process.stderr.write(`${error.report()}\n`);
    process.exitCode = 1;
  }
}
