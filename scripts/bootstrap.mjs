#!/usr/bin/env node
/**
 * From a bare clone to a running LMServ: installs dependencies, compiles, gets llama.cpp, then hands over to the
 * command line in this same process, so that signals need no forwarding. Uses Node's built-ins only, because it runs
 * before there is a node_modules. Each step costs milliseconds once it has been done.
 */
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { compile, isCompiled } from './bootstrap/compile.mjs';
import { installDependencies, isInstalled } from './bootstrap/dependencies.mjs';
import { interruptible } from '../src/install/early/interrupt.mjs';
import { CacheError, checkoutLock, prepareCache, withLock } from '../src/install/early/lock.mjs';
import { unsupportedNode } from '../src/install/early/node-version.mjs';
import { say, StepError } from './bootstrap/steps.mjs';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const [command, ...args] = process.argv.slice(2);

/** Imports a compiled file of this checkout. */
const compiled = (file) => import(pathToFileURL(path.join(root, 'dist', file)).href);

/** Dependencies and compiled code; two first runs in one checkout take turns. */
async function prepare(signal) {
  const folders = command === 'clients' ? [root, path.join(root, 'test/clients')] : [root];
  if (folders.every(isInstalled) && isCompiled(root)) return;
  const onWait = (holder) =>
    say(`Another start (process ${holder}) is preparing this checkout; waiting for it.`);
  await prepareCache();
  await withLock(checkoutLock(root), { signal, onWait }, async () => {
    for (const folder of folders) if (!isInstalled(folder)) await installDependencies(folder, signal);
    if (!isCompiled(root)) await compile(root, signal);
  });
}

async function prepareLlama(signal) {
  const { ensureLlama } = await compiled('src/install/llama/ensure.js');
  return ensureLlama({ root, signal });
}

/** The command line reads process.argv, as it does when started by its own name. */
async function handOver() {
  const cli = path.join(root, 'dist/src/cli.js');
  process.argv = [process.argv[0], cli, ...process.argv.slice(2)];
  await import(pathToFileURL(cli).href);
}

/** Programs of their own, for contributors. */
const PROGRAMS = { bench: 'bench/main.js', chaos: 'test/chaos/main.js' };

/** Commands that run workers, and the tests, which do so too. */
const NEEDS_LLAMA = ['ready', 'clients', 'bench', 'chaos'];

async function run() {
  const problem = unsupportedNode(root);
  if (problem !== undefined) throw new StepError(problem);
  const ready = await interruptible(async (signal) => {
    await prepare(signal);
    return !NEEDS_LLAMA.includes(command) || (await prepareLlama(signal));
  });
  if (!ready) process.exitCode = 1;
  else if (['build', 'ready', 'clients'].includes(command)) return;
  else if (command in PROGRAMS) await (await compiled(PROGRAMS[command])).main(args);
  else await handOver();
}

try {
  await run();
} catch (error) {
  if (!(error instanceof StepError || error instanceof CacheError)) throw error;
  say(error.message);
  process.exitCode = 1;
}
