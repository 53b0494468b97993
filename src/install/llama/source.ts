/** Gets llama.cpp's source: checks the npm package's tarball against the pin and clones its git bundle into the cache. */
import { copyFile, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { execa } from 'execa';
import { download } from '../download/download.js';
import { hashFile } from '../download/part.js';
import { DownloadError } from '../download/request.js';
import { exists } from '../files.js';
import { startProgress } from '../progress.js';
import { SetupError, tarballDigest, type SetupContext } from './context.js';
import { withoutGit } from './programs.js';

/**
 * Puts the pinned source into the cache; each finished step is kept for the next run.
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

/** Puts the pinned tarball into the cache. @throws SetupError */
async function obtainTarball(context: SetupContext, file: string | undefined): Promise<void> {
  await mkdir(context.layout.base, { recursive: true });
  await (file === undefined ? fetchTarball(context) : copyTarball(context, file));
  await requirePinned(context);
}

async function fetchTarball(context: SetupContext): Promise<void> {
  try {
    await downloadDirectly(context);
  } catch (first) {
    context.signal?.throwIfAborted();
    if (first instanceof DownloadError && first.code === 'disk_full') throw new SetupError(first.message);
    context.output.write('The direct download failed; trying npm pack.\n');
    await downloadWithNpm(context).catch((second: unknown) => {
      context.signal?.throwIfAborted();
      throw fetchFailure(context, first, second);
    });
  }
}

async function downloadDirectly(context: SetupContext): Promise<void> {
  const url = await tarballUrl(context);
  const progress = startProgress('Downloading llama.cpp', 'bytes', context.output);
  try {
    await download({
      url,
      to: context.layout.tarball,
      integrity: { algorithm: 'sha512', digest: tarballDigest(context.pin) },
      onProgress: ({ received, total }) => progress.update(received, total ?? 0),
      signal: context.signal,
      attempts: 3,
    });
  } finally {
    progress.stop();
  }
}

/** The tarball's URL in the registry that npm is configured to use. */
async function tarballUrl(context: SetupContext): Promise<string> {
  const { stdout } = await npm(context, ['view', spec(context), 'dist.tarball']);
  return stdout.trim();
}

/** Runs the npm that started this process, otherwise the one on PATH. */
function npm(context: SetupContext, args: string[]): ReturnType<typeof runNpm> {
  const cli = context.env['npm_execpath'];
  return cli?.endsWith('npm-cli.js')
    ? runNpm(context, process.execPath, [cli, ...args])
    : runNpm(context, 'npm', args);
}

/** Runs in the checkout, so that its .npmrc applies. */
function runNpm({ env, root, signal }: SetupContext, command: string, args: string[]) {
  return execa(command, args, {
    cwd: root,
    env,
    extendEnv: false,
    ...(signal ? { cancelSignal: signal } : {}),
  });
}

const spec = ({ pin }: SetupContext): string => `${pin.package}@${pin.version}`;

/** npm's download supports credentials, certificates and proxies that the direct one does not. */
async function downloadWithNpm(context: SetupContext): Promise<void> {
  const folder = await mkdtemp(path.join(context.layout.base, 'pack-'));
  try {
    await npm(context, ['pack', spec(context), '--pack-destination', folder, '--silent']);
    const packed = (await readdir(folder)).find((name) => name.endsWith('.tgz'));
    if (packed === undefined) throw new Error('npm pack left no tarball');
    await rename(path.join(folder, packed), context.layout.tarball);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function fetchFailure(context: SetupContext, first: unknown, second: unknown): SetupError {
  return new SetupError(
    `Could not get llama.cpp's source, the npm package ${spec(context)}.`,
    [
      `  ${lastLine(first)}`,
      `  ${lastLine(second)}`,
      'Check the network, and npm config list for registry and proxy; the same command then continues where it stopped.',
      `Without a network: fetch it elsewhere with \`npm pack ${spec(context)}\` and run \`npm run setup -- --tarball FILE\`,`,
      'or set LLM_BIN_PATH to an existing llama-cli or llama-server.',
    ],
    { cause: second },
  );
}

const lastLine = (error: unknown): string => {
  const text = error instanceof Error ? error.message : String(error);
  return text.trim().split('\n').slice(0, 4).join('\n  ');
};

/** Copies a tarball that the user provides, for machines without a registry. */
async function copyTarball(context: SetupContext, file: string): Promise<void> {
  await copyFile(file, context.layout.tarball).catch((error: Error) => {
    throw new SetupError(`Cannot read ${file}: ${error.message}`);
  });
}

/** Removes a tarball that is not the pinned one. @throws SetupError for such a tarball */
async function requirePinned({ pin, layout, signal }: SetupContext): Promise<void> {
  const digest = (await hashFile(layout.tarball, 'sha512', signal)).digest('hex');
  if (digest === tarballDigest(pin)) return;
  await rm(layout.tarball, { force: true });
  throw new SetupError(
    `The tarball of ${pin.package}@${pin.version} is not the pinned one (sha512 differs).`,
    ['Check what your npm registry or your file contains; vendor/llama.cpp.json has the pin.'],
  );
}

/** Extracts only the bundle; the package's prebuilt libraries are not used. */
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

async function run({ env, signal }: SetupContext, command: string, args: string[]): Promise<string> {
  try {
    const options = { env: withoutGit(env), extendEnv: false, ...(signal ? { cancelSignal: signal } : {}) };
    return (await execa(command, args, options)).stdout.trim();
  } catch (error) {
    signal?.throwIfAborted();
    const text = error instanceof Error ? error.message : String(error);
    throw new SetupError(`${command} failed while unpacking llama.cpp's source.`, [
      ...text.split('\n').slice(0, 12),
      'Check the disk space and run the same command again; `npm run setup -- --force` starts over.',
    ]);
  }
}

async function clone(context: SetupContext): Promise<void> {
  const { layout, pin } = context;
  const unfinished = `${layout.source}.tmp`;
  await rm(unfinished, { recursive: true, force: true });
  await run(context, 'git', ['clone', '--quiet', layout.bundle, unfinished]);
  const head = await run(context, 'git', ['-C', unfinished, 'rev-parse', 'HEAD']);
  if (head !== pin.commit)
    throw new SetupError(`The source is at commit ${head}, but ${pin.commit} is pinned.`);
  await rename(unfinished, layout.source);
}
