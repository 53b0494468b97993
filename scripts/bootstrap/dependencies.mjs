/** Step one: node_modules as package-lock.json has it. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { quarterBar, runProgram, StepError } from './steps.mjs';

const STAMP = 'node_modules/.lmserv-stamp';
const COUNT_EVERY_MS = 300;

const read = (root, file) => readFileSync(path.join(root, file), 'utf8');
const lockHash = (root) => createHash('sha256').update(read(root, 'package-lock.json')).digest('hex');

/** Packages of a lock file by their path, without the project itself. */
function packages(text) {
  return Object.entries(JSON.parse(text).packages ?? {}).filter(([key]) => key !== '');
}

/** Whether an `npm ci` of the user's left exactly the locked packages. Optional ones may be for another platform. */
function matchesLock(root) {
  const installed = new Map(packages(read(root, 'node_modules/.package-lock.json')));
  return packages(read(root, 'package-lock.json')).every(
    ([key, { version, optional, link }]) => link || optional || installed.get(key)?.version === version,
  );
}

/** Saves comparing at the next start; a checkout that only another account may write does without. */
function stamp(root) {
  try {
    writeFileSync(path.join(root, STAMP), lockHash(root));
  } catch (error) {
    if (!['EACCES', 'EROFS', 'EPERM'].includes(error.code)) throw error;
  }
}

/** Whether node_modules is complete for this package-lock.json. Never throws: unreadable means no. */
export function isInstalled(root) {
  try {
    if (existsSync(path.join(root, STAMP)) && read(root, STAMP) === lockHash(root)) return true;
    if (!matchesLock(root)) return false;
    stamp(root);
    return true;
  } catch {
    return false;
  }
}

/** Fraction of the locked packages whose files are there: npm unpacks them in place. */
function installedFraction(root, keys) {
  return keys.filter((key) => existsSync(path.join(root, key, 'package.json'))).length / keys.length;
}

/** npm as it started this process, else the one on PATH. */
function npmCommand(env = process.env) {
  const cli = env.npm_execpath;
  return cli?.endsWith('npm-cli.js') && existsSync(cli) ? [process.execPath, cli] : ['npm'];
}

/**
 * Runs `npm ci`, development dependencies included even in production: TypeScript compiles the server.
 * @throws StepError with npm's last lines
 */
export async function installDependencies(root, signal) {
  const bar = quarterBar('Installing dependencies');
  const keys = packages(read(root, 'package-lock.json')).flatMap(([key, { optional }]) =>
    optional ? [] : [key],
  );
  const [npm, ...prefix] = npmCommand();
  const timer = setInterval(() => bar(Math.min(installedFraction(root, keys), 0.99)), COUNT_EVERY_MS);
  bar(0);
  try {
    const args = [...prefix, 'ci', '--include=dev', '--no-audit', '--no-fund'];
    const { code, output } = await runProgram(npm, args, { cwd: root, signal });
    if (code !== 0) throw new StepError(failure(output));
  } finally {
    clearInterval(timer);
  }
  bar(1);
  stamp(root);
}

/** npm says why first, and then at length how it is used and where its log is. */
function failure(output) {
  const lines = output.split('\n').filter((line) => /^npm (error|ERR!) ./.test(line));
  const shown = (lines.length > 0 ? lines : output.trim().split('\n')).slice(0, 12).join('\n');
  return `\n${shown}\nInstalling dependencies (npm ci) failed: the lines above say why. If this is a network problem, check npm config list (registry, proxy), then run the same command again.`;
}
