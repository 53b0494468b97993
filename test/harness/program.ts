import { spawn, type ChildProcess, type Serializable } from 'node:child_process';
import { createInterface } from 'node:readline';

export interface ProgramOptions {
  readonly cwd: string;
  /** Its whole environment. */
  readonly env: NodeJS.ProcessEnv;
  /** Called with each line of its output. */
  readonly onLine?: (line: string) => void;
  /** In its own process group: Ctrl-C at the terminal does not reach it. */
  readonly detached?: boolean | undefined;
  /** With a channel for messages. */
  readonly ipc?: boolean | undefined;
}

export type Command = readonly [file: string, ...args: string[]];

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Time to obey SIGTERM before SIGKILL, milliseconds. */
const TERM_GRACE_MS = 30_000;

/** Characters kept of the end of its output. */
const TAIL = 2_000;

/** A program that runs beside a test or benchmark. It ends at the latest when this process ends. */
export class Program {
  /** Resolves after its end, once all of its output has been read. */
  readonly exited: Promise<Exit>;
  readonly #child: ChildProcess;
  #exit: Exit | undefined;
  #tail = '';

  constructor([file, ...args]: Command, { cwd, env, onLine, detached = false, ipc }: ProgramOptions) {
    this.#child = spawn(file, args, {
      cwd,
      env,
      detached,
      stdio: ipc ? ['ignore', 'pipe', 'pipe', 'ipc'] : ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [this.#child.stdout!, this.#child.stderr!])
      createInterface(stream).on('line', (line) => {
        this.#note(line);
        onLine?.(line);
      });
    this.#child.on('error', ({ message }) => this.#note(message));
    process.once('exit', this.#killAtExit);
    this.exited = new Promise((resolve) => {
      this.#child.once('close', (code, signal) => {
        process.off('exit', this.#killAtExit);
        resolve((this.#exit = { code, signal }));
      });
    });
  }

  /** undefined, against its type, if it could not be started. */
  get pid(): number {
    return this.#child.pid!;
  }

  /** How it ended; undefined while it runs. */
  get exit(): Exit | undefined {
    return this.#exit;
  }

  /** The end of its output. */
  get tail(): string {
    return this.#tail;
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** SIGTERM, and SIGKILL 30 s later. May be called again. */
  async stop(): Promise<Exit> {
    this.signal('SIGTERM');
    const timer = setTimeout(() => this.signal('SIGKILL'), TERM_GRACE_MS);
    return this.exited.finally(() => clearTimeout(timer));
  }

  /** Sends a message; a program that has ended does not get it. */
  tell(message: Serializable): void {
    if (this.#child.connected) this.#child.send(message, () => undefined);
  }

  onMessage(callback: (message: Serializable) => void): void {
    this.#child.on('message', callback);
  }

  #note(line: string): void {
    this.#tail = `${this.#tail}${line}\n`.slice(-TAIL);
  }

  readonly #killAtExit = (): void => this.signal('SIGKILL');
}
