#!/usr/bin/env node
import { setFlagsFromString } from 'node:v8';

/** The command line: the only place that ends the process. */

// Keeps V8's young generation at its first size. Loading some hundred modules would grow it, and V8 hardly ever gives
// that back: more than 10 MiB of an idle server. What a token leaves behind is small and dies at once, so generating
// is no slower. It counts for what is loaded after it.
setFlagsFromString('--semi-space-growth-factor=1');

const { run } = await import('./commands/program.js');
await run((code) => process.exit(code));
