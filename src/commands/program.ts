import { Command } from 'commander';
import { keysFilePath, processEnv } from '../config/load.js';
import { VERSION } from '../config/root.js';
import { UserError } from '../errors.js';
import { CacheError } from '../install/early/lock.mjs';
import { addInstallServiceCommand } from './install-service.js';
import { addKeysCommand } from './keys.js';
import { addModelCommand } from './model.js';
import type { Action } from './models.js';
import { addSetupCommand } from './setup.js';
import type { ServeOptions } from './serve.js';

const print = (text: string) => void process.stdout.write(text.endsWith('\n') ? text : `${text}\n`);

interface AskFlags {
  readonly model?: string;
  readonly system?: string;
  readonly maxTokens?: number;
  readonly temperature?: number;
}

/** Ends the process. */
export type Exit = (code: number) => void;

/** Parses the command line and runs the command. Each command imports its own dependencies. */
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
    .version(VERSION)
    .showHelpAfterError('(--help after the command shows its options)');
  addServeCommand(program, exit);
  addAskCommand(program, exit);
  addKeysCommand(program, () => keysFilePath(), print);
  addSetupCommand(program);
  addModelCommand(program);
  addModelsCommand(program);
  addInstallServiceCommand(program);
  addDoctorCommand(program, exit);
  return program;
}

function addServeCommand(program: Command, exit: Exit): void {
  program
    .command('serve', { isDefault: true })
    .description('start the server')
    .option('--host <address>', 'address to listen on (HOST)')
    .option('--port <number>', 'port to listen on; 0 chooses a free one (PORT)')
    .option(
      '--provider <name>',
      'provider for requests that name no model: local, mock or a provider of the configuration',
    )
    .option('--model <name>', 'the model or group for requests that name no model')
    .option('--disable-profiles', 'ignore profiles in /execute')
    .option('--strict-profiles', 'refuse a model_name in /execute that is neither a profile nor a model')
    .action(async (options: ServeOptions) => {
      const { serve } = await import('./serve.js');
      await serve(options, exit);
    });
}

function addAskCommand(program: Command, exit: Exit): void {
  program
    .command('ask [prompt]')
    .description(
      'send a prompt to a running server and stream its reply; - or a pipe reads the prompt from stdin',
    )
    .option('--model <name>', 'the model or group')
    .option('--system <text>', 'the system prompt')
    .option('--max-tokens <number>', 'max tokens to generate', Number)
    .option('--temperature <number>', '0 to 2', Number)
    .action(async (prompt: string | undefined, flags: AskFlags) => {
      const interrupted = new AbortController();
      process.once('SIGINT', () => interrupted.abort());
      const { runAsk } = await import('./ask.js');
      exit(await runAsk(prompt, { ...flags, signal: interrupted.signal }));
    });
}

const MODEL_ACTIONS: Readonly<Record<Action, string>> = {
  load: 'load a model before anyone asks for it',
  unload: 'free the memory of a model; the next request for it loads it again',
  pin: 'load a model and keep it in memory',
  unpin: 'let a model leave memory again when nobody uses it',
};

function addModelsCommand(program: Command): void {
  const models = program
    .command('models')
    .description('list the models that are served, and load or unload them')
    .addHelpText(
      'after',
      '\nThe server is that of LLM_BASE_URL, by default the one of this folder. It wants an admin key: LLM_API_KEY, else API_KEY.',
    )
    .action(async () => {
      const { listModels } = await import('./models.js');
      print(await listModels(processEnv()));
    });
  for (const [action, description] of Object.entries(MODEL_ACTIONS) as [Action, string][]) {
    models
      .command(`${action} <name>`)
      .description(description)
      .action(async (name: string) => {
        const { changeModel } = await import('./models.js');
        print(await changeModel(action, name, processEnv()));
      });
  }
}

function addDoctorCommand(program: Command, exit: Exit): void {
  program
    .command('doctor')
    .description('check the installation and say how to fix it')
    .option('--json', 'print JSON')
    .action(async (options: { json?: boolean }) => {
      const { runDoctor } = await import('./doctor.js');
      exit(await runDoctor(options, print));
    });
}

interface SystemError {
  readonly code?: string;
  readonly port?: number;
  readonly syscall?: string;
  readonly hostname?: string;
}

/** Only the message for errors that the user can fix; the whole stack for bugs. */
function explain(error: unknown): string {
  if (error instanceof UserError || error instanceof CacheError) return error.message;
  const { code, port, syscall, hostname } = error as SystemError;
  if (code === 'EADDRINUSE')
    return `port ${port} is in use; stop the program that listens there or set PORT to another port`;
  if (code === 'EACCES' && port !== undefined)
    return `port ${port} is not allowed; set PORT to a port above 1023`;
  if (code === 'EADDRNOTAVAIL') return 'HOST: this machine does not have that address';
  if (syscall === 'getaddrinfo')
    return `HOST: there is no address ${hostname} (${code}); set an address of this machine, or unset it: conda and tcsh set it`;
  if (!(error instanceof Error)) return String(error);
  // A system error names the call and the file.
  return syscall === undefined ? (error.stack ?? error.message) : error.message;
}
