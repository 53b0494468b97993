#!/usr/bin/env node
import { setFlagsFromString } from 'node:v8';
import './install/early/terminal.mjs';

/** The command line: the only place that ends the process. */

// Loading modules would grow V8's young generation permanently, by more than 10 MiB in an idle server, so it keeps its
// initial size for now. `serve` lets it grow once the server is up.
setFlagsFromString('--semi-space-growth-factor=1');

const { run } = await import('./commands/program.js');
await run((code) => process.exit(code));
