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
  /** Absolute. */
  readonly tarball?: string;
  readonly force: boolean;
}

export function addSetupCommand(
  program: Command,
  run: (flags: SetupFlags) => void | Promise<void> = runSetup,
): void {
  const gpu = new Option(
    '--gpu <flavour>',
    'what to build for; auto is CUDA when a GPU and nvcc are found, Metal on a Mac, otherwise the CPU',
  );
  program
    .command('setup')
    .description('get the pinned llama.cpp and build llama-cli and llama-server')
    .addOption(gpu.choices(['auto', ...FLAVOURS]).default('auto'))
    .option(
      '--jobs <number>',
      'compilers in parallel (default: as many as cores and memory allow)',
      numberArgument({ min: 1, max: 9999, whole: true }),
    )
    .option('--tarball <file>', 'use this tarball of the npm package instead of the network', (file) =>
      path.resolve(file),
    )
    .option('--force', 'start over: new source, new build', false)
    .action((flags: SetupFlags) => run(flags));
}

async function runSetup(flags: SetupFlags): Promise<void> {
  const { setup } = await import('../install/llama/setup.js');
  const { binary, flavour, cached } = await interruptible((signal) =>
    setup({ ...flags, root: ROOT, signal }),
  );
  const how = cached ? 'was already built' : 'is built';
  process.stdout.write(`llama.cpp for ${flavour} ${how}: ${path.relative(process.cwd(), binary)}\n`);
}
