#!/usr/bin/env node
/**
 * Runs a command on another version of Node, which npm's `node` package brings along:
 * node scripts/on-node.mjs VERSION [-- COMMAND...]. The default command runs the unit, http and live suites.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import path from 'node:path';

const [version, ...rest] = process.argv.slice(2);
if (!/^\d+(\.\d+){0,2}$/.test(version ?? '') || (rest.length > 0 && rest[0] !== '--')) {
  process.stderr.write('Usage: node scripts/on-node.mjs VERSION [-- COMMAND...]\n');
  process.exit(1);
}
const SUITES = ['npm', 'test', '--', '--selectProjects', 'unit', 'http', 'live'];
const [command, ...args] = rest.length > 1 ? rest.slice(1) : SUITES;

const find = ['exec', '--yes', `--package=node@${version}`, '--', 'node', '-p', 'process.execPath'];
const node = execFileSync('npm', find, { encoding: 'utf8', stdio: ['inherit', 'pipe', 'inherit'] }).trim();
const PATH = `${path.dirname(node)}${path.delimiter}${process.env.PATH}`;
process.stderr.write(`${node}\n`);
const { status } = spawnSync(command, args, { stdio: 'inherit', env: { ...process.env, PATH } });
process.exitCode = status ?? 1;
