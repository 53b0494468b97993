#!/usr/bin/env node
import { setFlagsFromString } from 'node:v8';

/** The command line: the only place that ends the process. */

// Keeps V8's young generation at its first size while modules are loaded, which would grow it for good: more than
// 10 MiB of an idle server. `serve` lets it grow once the server is up.
setFlagsFromString('--semi-space-growth-factor=1');

const { run } = await import('./commands/program.js');
await run((code) => process.exit(code));
