/** llama.cpp's source: out of the tarball, checked, cloned into the cache. */
import { mkdtemp, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { execa } from 'execa';
import { hashFile } from '../download/part.js';
import { exists } from '../files.js';
import type { SetupContext } from './context.js';
import { SetupError } from './errors.js';
import { withoutGit } from './programs.js';
import { obtainTarball } from './tarball.js';

async function run({ env, signal }: SetupContext, command: string, args: string[]): Promise<string> {
  try {
    const options = { env: withoutGit(env), extendEnv: false, ...(signal ? { cancelSignal: signal } : {}) };
    return (await execa(command, args, options)).stdout.trim();
  } catch (error) {
    signal?.throwIfAborted();
    const text = error instanceof Error ? error.message : String(error);
    throw new SetupError(`${command} failed while unpacking llama.cpp's source.`, [
      ...text.split('\n').slice(0, 12),
      'Check the room on the disk and run the same command again; `npm run setup -- --force` starts over.',
    ]);
  }
}

/** Only the bundle leaves the tarball: the package's prebuilt libraries are not used. */
async function extractBundle(context: SetupContext): Promise<void> {
  const { layout, pin } = context;
  const folder = await mkdtemp(path.join(layout.base, 'extract-'));
  try {
    await run(context, 'tar', ['-xzf', layout.tarball, '-C', folder, pin.bundle]);
    const bundle = path.join(folder, pin.bundle);
    const digest = (await hashFile(bundle, 'sha256', context.signal)).digest('hex');
    if (digest !== pin.bundleSha256)
      throw new SetupError('The source bundle in the tarball is not the pinned one.');
    await rename(bundle, layout.bundle);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function clone(context: SetupContext): Promise<void> {
  const { layout, pin } = context;
  const unfinished = `${layout.source}.tmp`;
  await rm(unfinished, { recursive: true, force: true });
  await run(context, 'git', ['clone', '--quiet', layout.bundle, unfinished]);
  const head = await run(context, 'git', ['-C', unfinished, 'rev-parse', 'HEAD']);
  if (head !== pin.commit)
    throw new SetupError(`The source is at commit ${head} where ${pin.commit} is pinned.`);
  await rename(unfinished, layout.source);
}

/**
 * Makes the pinned source be in the cache; each finished part of the way is kept for the next run.
 * @param tarball a file to use instead of the network
 */
export async function obtainSource(context: SetupContext, tarball: string | undefined): Promise<void> {
  const { layout } = context;
  if (await exists(layout.source)) return;
  if (!(await exists(layout.bundle))) {
    await obtainTarball(context, tarball);
    await extractBundle(context);
  }
  context.output.write('Unpacking llama.cpp\n');
  await clone(context);
  await Promise.all([rm(layout.tarball, { force: true }), rm(layout.bundle, { force: true })]);
}
