/** Builds with cmake: shows progress, writes all output to a log, and summarises a failure on one screen. */
import { once } from 'node:events';
import { createWriteStream, type WriteStream } from 'node:fs';
import { mkdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { execa } from 'execa';
import { exists } from '../files.js';
import { startProgress } from '../progress.js';
import { parseStep, remedy, tellingLines } from './build-output.js';
import { SetupError, type SetupContext } from './context.js';
import { findProgram, withoutGit } from './programs.js';

const TARGETS = ['llama-cli', 'llama-server'];

/** Time between SIGTERM and SIGKILL for the build's processes, milliseconds. */
const KILL_AFTER_MS = 3_000;

/** Builds llama-cli and llama-server in the cache, continuing an interrupted build. @throws SetupError */
export async function build(context: SetupContext): Promise<void> {
  await mkdir(context.layout.build, { recursive: true });
  const log = createWriteStream(context.layout.log, { flags: 'w' });
  let during: string | undefined = 'Configuring';
  try {
    if (await configureOrRestart(context, log))
      during = (await compile(context, log)) ? undefined : 'Building';
  } finally {
    log.end();
    await once(log, 'close');
  }
  if (during !== undefined) throw await failure(context, during);
}

/** Starts from scratch if an interrupted run left an unusable folder (moved cache, half-written file). */
async function configureOrRestart(context: SetupContext, log: WriteStream): Promise<boolean> {
  const resumed = await exists(path.join(context.layout.build, 'CMakeCache.txt'));
  if (await configure(context, log)) return true;
  if (!resumed) return false;
  await rm(context.layout.build, { recursive: true, force: true });
  return configure(context, log);
}

async function configure(context: SetupContext, log: WriteStream): Promise<boolean> {
  const { layout, flags, env } = context;
  const args = ['-S', layout.source, '-B', layout.build, ...(await generator(env)), ...flags];
  return cmake(context, args, log, () => undefined);
}

/** make, cmake's default, if available; otherwise ninja. */
async function generator(env: NodeJS.ProcessEnv): Promise<string[]> {
  if (env['CMAKE_GENERATOR'] || (await findProgram('make', env))) return [];
  return ['-G', 'Ninja'];
}

/** Runs cmake in a separate process group, so that compilers end with it. @returns whether it succeeded */
async function cmake(
  context: SetupContext,
  args: string[],
  log: WriteStream,
  onLine: (line: string) => void,
): Promise<boolean> {
  const { env, signal } = context;
  signal?.throwIfAborted();
  log.write(`\n$ cmake ${args.join(' ')}\n`);
  const child = execa('cmake', args, {
    env: withoutGit(env),
    extendEnv: false,
    stdin: 'ignore',
    all: true,
    buffer: false,
    reject: false,
    detached: true,
  });
  const stopGroup = (): void => endGroup(child.pid);
  signal?.addEventListener('abort', stopGroup, { once: true });
  for await (const line of child.iterable({ from: 'all' })) {
    log.write(`${line}\n`);
    onLine(line);
  }
  const result = await child;
  signal?.removeEventListener('abort', stopGroup);
  signal?.throwIfAborted();
  return !result.failed;
}

/** Sends SIGTERM to a process group, and later SIGKILL to what is left of it. */
function endGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  const send = (name: NodeJS.Signals): void => {
    try {
      process.kill(-pid, name);
    } catch {
      // The group has ended.
    }
  };
  send('SIGTERM');
  setTimeout(send, KILL_AFTER_MS, 'SIGKILL').unref();
}

async function compile(context: SetupContext, log: WriteStream): Promise<boolean> {
  const { layout, jobs, output, flavour } = context;
  const progress = startProgress(`Building llama.cpp (${flavour})`, 'percent', output);
  try {
    const args = ['--build', layout.build, '--parallel', String(jobs), '--target', ...TARGETS];
    return await cmake(context, args, log, (line) => {
      const step = parseStep(line);
      if (step) progress.update(step.percent, 100, step.step);
    });
  } finally {
    progress.stop();
  }
}

async function failure(context: SetupContext, during: string): Promise<SetupError> {
  const { log } = context.layout;
  const text = await readFile(log, 'utf8');
  const next = remedy(text) ?? 'Fix this and run the same command again: what is already built is kept.';
  return new SetupError(`${during} llama.cpp failed:`, [
    ...tellingLines(text).map((line) => `  ${line.slice(0, 200)}`),
    `The full log: ${log}`,
    next,
    'Or set LLM_BIN_PATH to an existing llama-cli or llama-server.',
  ]);
}
