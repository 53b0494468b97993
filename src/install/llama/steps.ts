/** Runs the programs of a build: all output goes to one log, and they end with the setup. */
import { once } from 'node:events';
import { createWriteStream, type WriteStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { execa } from 'execa';
import { remedy, tellingLines } from './build-output.js';
import { SetupError, type SetupContext } from './context.js';
import { withoutGit } from './programs.js';

/** Time between SIGTERM and SIGKILL for a program's processes, milliseconds. */
const KILL_AFTER_MS = 3_000;

/** Number of lines that are remembered for a message. */
const LAST_LINES = 3;

interface StepOptions {
  onLine?: (line: string) => void;
  /** Ends the program earlier than the setup's own signal does. */
  signal?: AbortSignal | undefined;
}

export class Steps {
  readonly #context: SetupContext;
  readonly #file: string;
  readonly #log: WriteStream;
  #last: string[] = [];

  private constructor(context: SetupContext, file: string) {
    this.#context = context;
    this.#file = file;
    this.#log = createWriteStream(file, { flags: 'w' });
  }

  /** Does a task whose programs write to the log file. */
  static async logTo<T>(file: string, context: SetupContext, task: (steps: Steps) => Promise<T>): Promise<T> {
    const steps = new Steps(context, file);
    try {
      return await task(steps);
    } finally {
      await steps.#close();
    }
  }

  /**
   * Runs a program in a separate process group, so that compilers end with it.
   * @returns whether it succeeded
   * @throws the setup's reason when it is aborted
   */
  async run(command: string, args: readonly string[], options: StepOptions = {}): Promise<boolean> {
    this.#context.signal?.throwIfAborted();
    const signals = [this.#context.signal, options.signal].filter((signal) => signal !== undefined);
    this.#log.write(`\n$ ${command} ${args.join(' ')}\n`);
    const child = execa(command, args, {
      env: withoutGit(this.#context.env),
      extendEnv: false,
      stdin: 'ignore',
      all: true,
      buffer: false,
      reject: false,
      detached: true,
    });
    const stopGroup = (): void => endGroup(child.pid);
    for (const signal of signals) signal.addEventListener('abort', stopGroup, { once: true });
    for await (const line of child.iterable({ from: 'all' })) {
      this.#log.write(`${line}\n`);
      options.onLine?.(line);
      this.#last = [...this.#last.slice(1 - LAST_LINES), line];
    }
    const result = await child;
    for (const signal of signals) signal.removeEventListener('abort', stopGroup);
    this.#context.signal?.throwIfAborted();
    if (result.failed) this.#log.write(`${result.shortMessage}\n`);
    return !result.failed;
  }

  /** What the programs printed last. */
  lastLines(): readonly string[] {
    return this.#last.map((line) => `  ${line.slice(0, 200)}`);
  }

  /** The report of a failed step, with the log's telling lines. */
  async failure(during: string): Promise<SetupError> {
    await this.#close();
    const text = await readFile(this.#file, 'utf8');
    const next = remedy(text) ?? 'Fix this and run the same command again: what is already built is kept.';
    return new SetupError(`${during} llama.cpp failed:`, [
      ...tellingLines(text).map((line) => `  ${line.slice(0, 200)}`),
      `The full log: ${this.#file}`,
      next,
      'Or set LLM_BIN_PATH to an existing llama-cli or llama-server.',
    ]);
  }

  async #close(): Promise<void> {
    if (this.#log.closed) return;
    this.#log.end();
    await once(this.#log, 'close');
  }
}

/** Sends SIGTERM to a process group, and later SIGKILL to what is left of it. */
function endGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  const send = (name: NodeJS.Signals): void => {
    try {
      process.kill(-pid, name);
    } catch {
      // The group has ended.
    }
  };
  send('SIGTERM');
  setTimeout(send, KILL_AFTER_MS, 'SIGKILL').unref();
}
