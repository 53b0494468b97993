#!/usr/bin/env node
import { Command } from 'commander';
import { BinaryError } from '../workers/binary.js';
import { ConfigError } from './config.js';
import { serve, type ServeOptions } from './commands/serve.js';
import { VERSION } from './server.js';

/** The command line: the only place that ends the process. */

const program = new Command('lmserv')
  .description('A streaming LLM server over a self-healing pool of llama.cpp workers')
  .version(VERSION);

program
  .command('serve', { isDefault: true })
  .description('start the server')
  .option('--host <address>', 'where to listen (HOST)')
  .option('--port <number>', 'port to listen on, 0 takes a free one (PORT)')
  .action((options: ServeOptions) => serve(options, (code) => process.exit(code)));

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`lmserv: ${explain(error)}\n`);
  process.exit(1);
}

/** One line for what the user can mend; the whole stack for what only we can. */
function explain(error: unknown): string {
  if (error instanceof ConfigError || error instanceof BinaryError) return error.message;
  const { code, port } = error as { code?: string; port?: number };
  if (code === 'EADDRINUSE') return `port ${port} is taken; stop what listens there or set PORT to another`;
  if (code === 'EACCES' && port !== undefined)
    return `port ${port} is not allowed; set PORT to one above 1023`;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
