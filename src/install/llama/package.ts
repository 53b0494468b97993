/** Gets pinned npm packages: their tarballs are checked against their hashes, and only the wanted files are unpacked. */
import { mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { execa } from 'execa';
import { download } from '../download/download.js';
import { hashFile } from '../download/part.js';
import { DownloadError } from '../download/request.js';
import { exists } from '../files.js';
import { startProgress } from '../progress.js';
import { unpack } from '../tar.js';
import { digestOf, SetupError, type PinnedPackage, type SetupContext } from './context.js';

/**
 * Unpacks files of a package, whose tarball comes from the given files or from the network.
 * @param target where an entry of the tarball belongs; undefined skips it
 * @param use takes the files; a downloaded tarball is kept until this has succeeded, so that nothing is fetched twice
 * @throws SetupError
 */
export async function usePackage(
  context: SetupContext,
  pinned: PinnedPackage,
  target: (name: string) => string | undefined,
  use: () => Promise<void>,
): Promise<void> {
  const downloaded = path.join(context.layout.base, fileName(context, pinned));
  const given = await givenTarball(context, pinned);
  if (given === undefined) await fetchTarball(context, pinned, downloaded);
  await unpack(given ?? downloaded, target, context.signal).catch((error: Error) => {
    context.signal?.throwIfAborted();
    throw new SetupError(`Unpacking ${spec(context, pinned)} failed: ${error.message}`, [
      'Check the disk space and run the same command again.',
    ]);
  });
  await use();
  await rm(downloaded, { force: true });
}

/** As `npm pack` names it. */
const fileName = ({ pin }: SetupContext, { name }: PinnedPackage): string =>
  `${name.replace('@', '').replace('/', '-')}-${pin.version}.tgz`;

const spec = ({ pin }: SetupContext, { name }: PinnedPackage): string => `${name}@${pin.version}`;

/** The file among the given tarballs that is the package's. */
async function givenTarball(context: SetupContext, pinned: PinnedPackage): Promise<string | undefined> {
  for (const file of context.tarballs) if ((await hashOf(context, file)) === digestOf(pinned)) return file;
  return undefined;
}

/** @throws SetupError for a given tarball that is none of the pinned packages' */
export async function requireKnownTarballs(context: SetupContext): Promise<void> {
  const { pin } = context;
  const libraries = Object.values(pin.libraries).flatMap((flavours) => Object.values(flavours).flat());
  const known = [pin, ...libraries.flatMap(({ packages }) => packages)].map(digestOf);
  for (const file of context.tarballs) {
    if (known.includes(await hashOf(context, file))) continue;
    throw new SetupError(`${file} is not one of the pinned packages (sha512 differs).`, [
      'vendor/llama.cpp.json has the names, versions and hashes.',
    ]);
  }
}

function hashOf({ signal }: SetupContext, file: string): Promise<string> {
  return hashFile(file, 'sha512', signal).then(
    (hash) => hash.digest('hex'),
    (error: Error) => {
      signal?.throwIfAborted();
      throw new SetupError(`Cannot read ${file}: ${error.message}`);
    },
  );
}

/** Puts the package's tarball into the cache, unless an interrupted run has. */
async function fetchTarball(context: SetupContext, pinned: PinnedPackage, to: string): Promise<void> {
  if ((await exists(to)) && (await hashOf(context, to)) === digestOf(pinned)) return;
  try {
    await downloadDirectly(context, pinned, to);
  } catch (first) {
    context.signal?.throwIfAborted();
    if (first instanceof DownloadError && first.code === 'disk_full') throw new SetupError(first.message);
    context.output.write('The direct download failed; trying npm pack.\n');
    await downloadWithNpm(context, pinned, to).catch((second: unknown) => {
      context.signal?.throwIfAborted();
      throw fetchFailure(context, pinned, first, second);
    });
    await requirePinned(context, pinned, to);
  }
}

async function downloadDirectly(context: SetupContext, pinned: PinnedPackage, to: string): Promise<void> {
  const url = await tarballUrl(context, pinned);
  const progress = startProgress(`Downloading ${pinned.name}`, 'bytes', context.output);
  try {
    await download({
      url,
      to,
      integrity: { algorithm: 'sha512', digest: digestOf(pinned) },
      onProgress: ({ received, total }) => progress.update(received, total ?? 0),
      signal: context.signal,
      attempts: 3,
    });
  } finally {
    progress.stop();
  }
}

/** The tarball's URL in the registry that npm is configured to use. */
async function tarballUrl(context: SetupContext, pinned: PinnedPackage): Promise<string> {
  const { stdout } = await npm(context, ['view', spec(context, pinned), 'dist.tarball']);
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

/** npm's download supports credentials, certificates and proxies that the direct one does not. */
async function downloadWithNpm(context: SetupContext, pinned: PinnedPackage, to: string): Promise<void> {
  const folder = await mkdtemp(path.join(context.layout.base, 'pack-'));
  try {
    await npm(context, ['pack', spec(context, pinned), '--pack-destination', folder, '--silent']);
    const packed = (await readdir(folder)).find((name) => name.endsWith('.tgz'));
    if (packed === undefined) throw new Error('npm pack left no tarball');
    await rename(path.join(folder, packed), to);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function fetchFailure(
  context: SetupContext,
  pinned: PinnedPackage,
  first: unknown,
  second: unknown,
): SetupError {
  return new SetupError(
    `Could not get the npm package ${spec(context, pinned)}.`,
    [
      `  ${lastLine(first)}`,
      `  ${lastLine(second)}`,
      'Check the network, and npm config list for registry and proxy; the same command then continues where it stopped.',
      `Without a network: fetch it elsewhere with \`npm pack ${spec(context, pinned)}\` and run \`npm run setup -- --tarball FILE\`,`,
      'or set LLM_BIN_PATH to an existing llama-cli or llama-server.',
    ],
    { cause: second },
  );
}

const lastLine = (error: unknown): string => {
  const text = error instanceof Error ? error.message : String(error);
  return text.trim().split('\n').slice(0, 4).join('\n  ');
};

/** Removes a tarball that is not the pinned one. @throws SetupError for such a tarball */
async function requirePinned(context: SetupContext, pinned: PinnedPackage, tarball: string): Promise<void> {
  if ((await hashOf(context, tarball)) === digestOf(pinned)) return;
  await rm(tarball, { force: true });
  throw new SetupError(`The tarball of ${spec(context, pinned)} is not the pinned one (sha512 differs).`, [
    'Check what your npm registry contains; vendor/llama.cpp.json has the pin.',
  ]);
}
