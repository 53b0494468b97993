import { createInterface } from 'node:readline';
import { execa } from 'execa';

export interface ProgramOptions {
  readonly cwd: string;
  /** Its whole environment. */
  readonly env: Readonly<Record<string, string>>;
  /** Called with each line that it writes. */
  readonly onLine?: (line: string) => void;
}

/** More arguments for the Node of LMServ and of `bare`, such as `--cpu-prof`: from BENCH_NODE_ARGS, between spaces. */
export const NODE_ARGS: readonly string[] = (process.env.BENCH_NODE_ARGS ?? '').split(' ').filter(Boolean);

/** Time to obey SIGTERM before SIGKILL, milliseconds. */
const TERM_GRACE_MS = 10_000;

/** Characters of its last words that are kept. */
const TAIL = 2_000;

/** How a program ended; neither is set when it could not be started. */
export interface Exit {
  readonly code: number | undefined;
  readonly signal: NodeJS.Signals | undefined;
}

/** Another program, run for as long as a benchmark needs it; it ends when this process ends. */
export class Program {
  readonly #process: ReturnType<typeof launch>;
  #tail = '';

  constructor(file: string, args: readonly string[], options: ProgramOptions) {
    this.#process = launch(file, args, options);
    for (const stream of [this.#process.stdout, this.#process.stderr])
      createInterface(stream).on('line', (line) => {
        this.#tail = `${this.#tail}${line}\n`.slice(-TAIL);
        options.onLine?.(line);
      });
  }

  /** @returns undefined when it could not be started. */
  get pid(): number | undefined {
    return this.#process.pid;
  }

  /** The end of what it wrote. */
  get tail(): string {
    return this.#tail;
  }

  /** Resolves when it has ended, with how. */
  async ended(): Promise<Exit> {
    const { exitCode, signal } = await this.#process;
    return { code: exitCode, signal };
  }

  kill(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  /** May be called again. */
  async stop(): Promise<void> {
    this.#process.kill('SIGTERM');
    await this.#process;
  }
}

function launch(file: string, args: readonly string[], { cwd, env }: ProgramOptions) {
  return execa(file, args, {
    ...{ cwd, env, extendEnv: false },
    ...{ stdin: 'ignore', stdout: 'pipe', stderr: 'pipe', buffer: false, reject: false },
    forceKillAfterDelay: TERM_GRACE_MS,
  } as const);
}

export interface Stoppable {
  stop(): Promise<void>;
}

/** Runs a task; what it hands to `own` is stopped when the task is over, the last one first. */
export async function withOwned<T>(
  task: (own: <S extends Stoppable>(started: S) => S) => Promise<T>,
): Promise<T> {
  const owned: Stoppable[] = [];
  try {
    return await task((started) => {
      owned.push(started);
      return started;
    });
  } finally {
    for (const started of owned.reverse()) await started.stop();
  }
}
