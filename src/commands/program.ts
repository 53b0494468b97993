import { Command } from 'commander';
import { ModelError } from '../install/models/errors.js';
import { BinaryError } from '../../workers/binary.js';
import { ConfigFileError } from '../config/file/index.js';
import { ConfigError, keysFilePath } from '../config/config.js';
import { GroupError } from '../generate/groups.js';
import { KeyFileError } from '../accounts/keys/file.js';
import { ProfileError } from '../dialects/llm-connect/profiles/profile.js';
import { VERSION } from '../app/server.js';
import { UsageFileError } from '../accounts/usage/store.js';
import { addKeysCommand } from './keys.js';
import { serve, type ServeOptions } from './serve.js';

const print = (text: string) => void process.stdout.write(text.endsWith('\n') ? text : `${text}\n`);

interface AskFlags {
  readonly model?: string;
  readonly system?: string;
  readonly maxTokens?: number;
  readonly temperature?: number;
}

/** Ends the process. */
export type Exit = (code: number) => void;

/** Errors whose message is one line for the operator. */
const PLAIN = [
  ...[BinaryError, ConfigError, ConfigFileError, GroupError],
  ...[KeyFileError, ModelError, ProfileError, UsageFileError],
];

/** Reads the command line and does what it says. What only one command needs is loaded by that command. */
export async function run(exit: Exit): Promise<void> {
  const program = commandLine(exit);
  try {
    await program.parseAsync();
  } catch (error) {
    process.stderr.write(`lmserv: ${explain(error)}\n`);
    exit(1);
  }
}

function commandLine(exit: Exit): Command {
  const program = new Command('lmserv')
    .description('A streaming LLM server over a self-healing pool of llama.cpp workers')
    .version(VERSION);
  addServeCommand(program, exit);
  addAskCommand(program, exit);
  addKeysCommand(program, () => keysFilePath(), print);
  addDoctorCommand(program, exit);
  return program;
}

function addServeCommand(program: Command, exit: Exit): void {
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
    .action((options: ServeOptions) => serve(options, exit));
}

function addAskCommand(program: Command, exit: Exit): void {
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
      const { runAsk } = await import('./ask.js');
      exit(await runAsk(prompt, { ...flags, signal: interrupted.signal }));
    });
}

function addDoctorCommand(program: Command, exit: Exit): void {
  program
    .command('doctor')
    .description('check the installation and say what to do')
    .option('--json', 'for machines')
    .action(async (options: { json?: boolean }) => {
      const { runDoctor } = await import('./doctor.js');
      exit(await runDoctor(options, print));
    });
}

/** One line for what the user can mend; the whole stack for what only we can. */
function explain(error: unknown): string {
  if (PLAIN.some((kind) => error instanceof kind)) return (error as Error).message;
  const { code, port, syscall } = error as { code?: string; port?: number; syscall?: string };
  if (code === 'EADDRINUSE') return `port ${port} is taken; stop what listens there or set PORT to another`;
  if (code === 'EACCES' && port !== undefined)
    return `port ${port} is not allowed; set PORT to one above 1023`;
  if (code === 'EADDRNOTAVAIL') return 'HOST: this machine has no such address';
  if (!(error instanceof Error)) return String(error);
  // The system's own errors say what could not be done with which file.
  return syscall === undefined ? (error.stack ?? error.message) : error.message;
}
