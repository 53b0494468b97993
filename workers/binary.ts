/**
 * Finds the llama.cpp binary for the workers: a `llama-cli` that hosts llama.cpp's HTTP server itself, or a
 * `llama-server`. The help text identifies both; printing it takes about 10 ms and loads no model.
 */
import { execFile, type ExecFileException } from 'node:child_process';
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import path from 'node:path';
import { UserError } from '../src/errors.js';

export type BinaryKind = 'llama-cli' | 'llama-server';

export interface ResolvedBinary {
  /** Absolute path. */
  path: string;
  kind: BinaryKind;
  /** As the binary prints it, for example `0.5.0-dev`; `unknown` if it does not. */
  version: string;
}

export type BinaryErrorCode = 'missing' | 'not_executable' | 'too_old' | 'broken';

/** No binary is usable; the message is one line that says what to do. */
export class BinaryError extends UserError {
  constructor(
    readonly code: BinaryErrorCode,
    message: string,
  ) {
    super(message);
  }
}

export interface ResolveOptions {
  /** LLM_BIN_PATH: a path, relative to `root`, or the name of a program on the search path. */
  configured?: string | undefined;
  /** The checkout, which contains the builds of `npm run setup`. */
  root: string;
  /** Folders to search for programs, as in PATH. */
  searchPath?: string | undefined;
  /** The environment; only PATH, HOME and the library path are passed to a binary. Default: empty. */
  env?: NodeJS.ProcessEnv | undefined;
}

/** Builds of `npm run setup`, the fastest flavour first. */
export const BUILD_FOLDERS = ['build-cuda', 'build-vulkan', 'build-metal', 'build'] as const;

/** Max time for a binary to print its help, milliseconds; a CUDA build on a cold disk takes seconds. */
const PROBE_TIMEOUT_MS = 20_000;
const SETUP_HINT = 'run `npm run setup` to build one';

/** Possible places of a binary, the best first. */
function candidates({ root, searchPath }: ResolveOptions): string[] {
  const built = BUILD_FOLDERS.map((folder) => path.join(root, 'vendor/llama.cpp', folder, 'bin/llama-cli'));
  return [...built, ...onSearchPath('llama-cli', searchPath)];
}

function onSearchPath(name: string, searchPath = ''): string[] {
  return searchPath
    .split(path.delimiter)
    .filter((folder) => path.isAbsolute(folder))
    .map((folder) => path.join(folder, name));
}

const isFile = (file: string): Promise<boolean> =>
  stat(file).then(
    (entry) => entry.isFile(),
    () => false,
  );

async function firstFile(files: string[]): Promise<string | undefined> {
  for (const file of files) if (await isFile(file)) return file;
  return undefined;
}

/** A configured name without a slash is a program on the search path, if there is one; anything else is a path. */
async function locate(configured: string, { root, searchPath }: ResolveOptions): Promise<string> {
  const programs = configured.includes(path.sep) ? [] : onSearchPath(configured, searchPath);
  return (await firstFile(programs)) ?? path.resolve(root, configured);
}

/**
 * Finds the binary to run: the configured one, otherwise the first usable one of the checkout's builds and `llama-cli`
 * on the search path.
 *
 * @throws BinaryError when the configured binary is not usable (others are then not tried), or no binary is.
 */
export async function resolveBinary(options: ResolveOptions): Promise<ResolvedBinary> {
  if (options.configured)
    return probeBinary(await locate(options.configured, options), options.env, 'LLM_BIN_PATH: ');
  let problem = await unreachableBuilds(options.root);
  for (const file of candidates(options)) {
    if (!(await isFile(file))) continue;
    try {
      return await probeBinary(file, options.env);
    } catch (error) {
      if (!(error instanceof BinaryError)) throw error;
      problem ??= error;
    }
  }
  throw (
    problem ?? new BinaryError('missing', `There is no llama-cli yet: ${SETUP_HINT}, or set LLM_BIN_PATH`)
  );
}

/** The builds may be links into another account's home folder. */
async function unreachableBuilds(root: string): Promise<BinaryError | undefined> {
  for (const build of BUILD_FOLDERS) {
    const folder = path.join(root, 'vendor/llama.cpp', build);
    const { code } = (await stat(folder).catch((error: NodeJS.ErrnoException) => error)) as { code?: string };
    if (code !== 'EACCES') continue;
    const remedy = 'give it access to every parent folder, or set LLM_BIN_PATH';
    return new BinaryError('not_executable', `${folder} cannot be reached by this account: ${remedy}`);
  }
  return undefined;
}

/**
 * Checks one binary and determines its kind and version.
 *
 * @param env as in ResolveOptions.
 * @param prefix put before the error messages.
 * @throws BinaryError
 */
export async function probeBinary(
  file: string,
  env: NodeJS.ProcessEnv = {},
  prefix = '',
): Promise<ResolvedBinary> {
  await requireExecutable(file, prefix);
  const [help, versionText] = await Promise.all([run(file, '--help', env), run(file, '--version', env)]);
  const kind = detectKind(help.output);
  if (kind !== undefined) return { path: file, kind, version: parseVersion(versionText.output) };
  if (help.failure !== undefined && !looksLikeLlama(help.output + versionText.output)) {
    throw new BinaryError('broken', `${prefix}${file} does not run (${help.failure}): ${SETUP_HINT}`);
  }
  throw new BinaryError(
    'too_old',
    `${prefix}${file} is too old or not a llama-cli: its help lacks --server-base, so it hosts no HTTP server; ${SETUP_HINT}, or set LLM_BIN_PATH to a llama-server`,
  );
}

async function requireExecutable(file: string, prefix: string): Promise<void> {
  if (!(await isFile(file))) {
    throw new BinaryError('missing', `${prefix}there is no file ${file}: ${SETUP_HINT}, or correct the path`);
  }
  const executable = await access(file, constants.X_OK).then(
    () => true,
    () => false,
  );
  if (!executable) {
    throw new BinaryError('not_executable', `${prefix}${file} is not executable: run \`chmod +x ${file}\``);
  }
}

/**
 * `--server-base` makes llama-cli use another server "instead of starting a new one", so only builds that start a server
 * have it. `--api-key` is an option of llama-server.
 */
function detectKind(help: string): BinaryKind | undefined {
  if (/^--server-base\b/m.test(help)) return 'llama-cli';
  return /^--api-key\b/m.test(help) && /^--host\b/m.test(help) ? 'llama-server' : undefined;
}

/** llama.cpp prints `version: 0.5.0-dev (build 1, commit de3ff81)`, and older ones `version: 4567 (abcdef0)`. */
function parseVersion(output: string): string {
  return /^version: (\S+)/m.exec(output)?.[1] ?? 'unknown';
}

/** Old builds print usage or a version even if they exit with an error. */
const looksLikeLlama = (output: string): boolean => /^version: |^usage: |^-{5} common params/m.test(output);

interface Run {
  output: string;
  /** A short reason for the failure; undefined when it exited with 0. */
  failure: string | undefined;
}

/** Variables that the loader may need. */
const PASSED_VARIABLES = ['PATH', 'HOME', 'LD_LIBRARY_PATH', 'DYLD_LIBRARY_PATH'];

/** Runs the binary with a minimal environment, because LLAMA_ARG_* variables would change what it does. */
function run(file: string, option: string, environment: NodeJS.ProcessEnv): Promise<Run> {
  const env = Object.fromEntries(
    Object.entries(environment).filter(([name]) => PASSED_VARIABLES.includes(name)),
  );
  const options = { env, timeout: PROBE_TIMEOUT_MS, killSignal: 'SIGKILL', maxBuffer: 1 << 20 } as const;
  return new Promise((resolve) => {
    const child = execFile(file, [option], options, (error, stdout, stderr) => {
      resolve({
        output: `${stdout}\n${stderr}`,
        failure: error ? describeFailure(error, stderr) : undefined,
      });
    });
    child.stdin?.end();
  });
}

/** The first line that the loader or the program printed, otherwise how it ended. */
function describeFailure(error: ExecFileException, stderr: string): string {
  const firstLine = stderr.trim().split('\n')[0]?.slice(0, 200);
  if (firstLine) return firstLine;
  if (error.signal) return `ended by ${error.signal}`;
  return error.code == null ? error.message : `exit code ${error.code}`;
}
