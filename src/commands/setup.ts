/** `lmserv setup`, also `npm run setup`. */
import path from 'node:path';
import { Option, type Command } from 'commander';
import { ROOT } from '../config/root.js';
import { interruptible } from '../install/early/interrupt.mjs';
import { FLAVOURS, type Flavour } from '../install/llama/context.js';
import { numberArgument } from './number-argument.js';

export interface SetupFlags {
  readonly gpu: Flavour | 'auto';
  /** Compilers in parallel. */
  readonly jobs?: number;
  /** Compiles everything for this CPU. */
  readonly native: boolean;
  readonly tarball?: readonly string[];
  readonly force: boolean;
}

export function addSetupCommand(
  program: Command,
  run: (flags: SetupFlags) => void | Promise<void> = runSetup,
): void {
  const gpu = new Option(
    '--gpu <flavour>',
    'what to compute on; auto is CUDA, else Vulkan, if a GPU, its driver and libraries are found, otherwise the CPU',
  );
  program
    .command('setup')
    .description('get the pinned llama.cpp: llama-cli and llama-server')
    .addOption(gpu.choices(['auto', ...FLAVOURS]).default('auto'))
    .option('--native', 'compile all of it for this CPU, instead of using prebuilt libraries', false)
    .option(
      '--jobs <number>',
      'compilers in parallel (default: as many as cores and memory allow)',
      numberArgument({ min: 1, max: 9999, whole: true }),
    )
    .option('--tarball <file...>', 'use these tarballs of the npm packages instead of the network')
    .option('--force', 'start over: new source, new build', false)
    .action((flags: SetupFlags) => run(flags));
}

async function runSetup({ tarball = [], ...flags }: SetupFlags): Promise<void> {
  const { setup } = await import('../install/llama/setup.js');
  const tarballs = tarball.map((file) => path.resolve(file));
  const { binary, label, cached } = await interruptible((signal) =>
    setup({ ...flags, tarballs, root: ROOT, signal }),
  );
  const how = cached ? 'was already here' : 'is ready';
  process.stdout.write(`llama.cpp for ${label} ${how}: ${path.relative(process.cwd(), binary)}\n`);
}
