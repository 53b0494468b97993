#!/usr/bin/env node
/** `npm run dev`: the compiler and the server, both watching. */
import { spawn } from 'node:child_process';

const children = [
  ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json', '--watch', '--preserveWatchOutput'],
  ['--watch', '--watch-preserve-output', 'dist/src/cli.js', 'serve', ...process.argv.slice(2)],
].map((args) => spawn(process.execPath, args, { stdio: 'inherit' }));

const stop = () => children.forEach((child) => child.kill('SIGTERM'));
// Ctrl-C reaches them by itself; this process waits for them, because the server finishes its replies first.
process.on('SIGINT', () => undefined).on('SIGTERM', stop);
for (const child of children) child.on('exit', stop);
