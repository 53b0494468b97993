#!/usr/bin/env node
import { Command } from 'commander';
import { ModelError } from '../scripts/model/errors.js';
import { BinaryError } from '../workers/binary.js';
import { runAsk } from './client/ask.js';
import { addKeysCommand } from './commands/keys.js';
import { runDoctor } from './commands/doctor.js';
import { serve, type ServeOptions } from './commands/serve.js';
import { ConfigFileError } from './config-file/index.js';
import { ConfigError, keysFilePath } from './config.js';
import { GroupError } from './generate/groups.js';
import { KeyFileError } from './keys/file.js';
import { ProfileError } from './profiles/profile.js';
import { VERSION } from './server.js';
import { UsageFileError } from './usage/store.js';

/** The command line: the only place that ends the process. */

const print = (text: string) => void process.stdout.write(text.endsWith('\n') ? text : `${text}\n`);

const program = new Command('lmserv')
  .description('A streaming LLM server over a self-healing pool of llama.cpp workers')
  .version(VERSION);

program
  .command('serve', { isDefault: true })
  .description('start the server')
  .option('--host <address>', 'where to listen (HOST)')
  .option('--port <number>', 'port to listen on, 0 takes a free one (PORT)')
  .option(
    '--provider <name>',
    'whose model serves requests that name none: local, mock or one of the configuration',
  )
  .option('--model <name>', 'the model or group for requests that name none')
  .option('--disable-profiles', 'no profiles in /execute')
  .option('--strict-profiles', 'a model_name that is neither a profile nor a model is refused in /execute')
  .action((options: ServeOptions) => serve(options, (code) => process.exit(code)));

interface AskFlags {
  readonly model?: string;
  readonly system?: string;
  readonly maxTokens?: number;
  readonly temperature?: number;
}

program
  .command('ask [prompt]')
  .description(
    'ask a running server and show the answer as it comes; - or a pipe reads the prompt from stdin',
  )
  .option('--model <name>', 'the model or group')
  .option('--system <text>', 'the system prompt')
  .option('--max-tokens <number>', 'tokens to generate at most', Number)
  .option('--temperature <number>', '0 to 2', Number)
  .action(async (prompt: string | undefined, flags: AskFlags) => {
    const interrupted = new AbortController();
    process.once('SIGINT', () => interrupted.abort());
    process.exit(await runAsk(prompt, { ...flags, signal: interrupted.signal }));
  });

addKeysCommand(program, () => keysFilePath(), print);

program
  .command('doctor')
  .description('check the installation and say what to do')
  .option('--json', 'for machines')
  .action(async (options: { json?: boolean }) => {
    process.exit(await runDoctor(options, print));
  });

/** Errors whose message is one line for the operator. */
const PLAIN = [
  ...[BinaryError, ConfigError, ConfigFileError, GroupError],
  ...[KeyFileError, ModelError, ProfileError, UsageFileError],
];

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`lmserv: ${explain(error)}\n`);
  process.exit(1);
}

/** One line for what the user can mend; the whole stack for what only we can. */
function explain(error: unknown): string {
  if (PLAIN.some((kind) => error instanceof kind)) return (error as Error).message;
  const { code, port } = error as { code?: string; port?: number };
  if (code === 'EADDRINUSE') return `port ${port} is taken; stop what listens there or set PORT to another`;
  if (code === 'EACCES' && port !== undefined)
    return `port ${port} is not allowed; set PORT to one above 1023`;
  if (code === 'EADDRNOTAVAIL') return 'HOST: this machine has no such address';
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
