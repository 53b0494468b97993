/** Old Nodes fail later with a syntax error in some dependency, so the version is checked before all else. */
import { readFileSync } from 'node:fs';
import path from 'node:path';

const numbers = (version) => version.split('.').map(Number);

/** Whether version a is older than version b, both like 20.19.0. */
export function isOlder(a, b) {
  const [left, right] = [numbers(a), numbers(b)];
  const at = left.findIndex((part, index) => part !== right[index]);
  return at !== -1 && left[at] < right[at];
}

/** @returns what to tell the user when this Node is too old for package.json's `engines`, else undefined */
export function unsupportedNode(root, running = process.versions.node) {
  const { engines } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
  const needed = /\d+\.\d+\.\d+/.exec(engines.node)[0];
  if (!isOlder(running, needed)) return undefined;
  return `LMServ needs Node ${needed} or later; this is ${running} (${process.execPath}). Install a newer one: nodejs.org, nvm or your package manager.`;
}
