import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ChaosError } from './errors.js';
import type { Target } from './exchange.js';
import { ServerLog } from './server-log.js';

export interface ServerOptions {
  /** The checkout, compiled. */
  readonly root: string;
  readonly workers: number;
  /** How long a worker may make no progress, milliseconds; the server's own limits by default. */
  readonly hangMs?: number | undefined;
  readonly queueLimit: number;
  /** How long open replies may take at the end, milliseconds. */
  readonly graceMs: number;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** An LMServ as its users run it: a process of its own, in a folder of its own, known by its log and its port alone. */
export class Server {
  readonly log = new ServerLog();
  readonly exited: Promise<Exit>;
  readonly #child: ChildProcess;
  readonly #folder = mkdtempSync(join(tmpdir(), 'lmserv-chaos-'));
  readonly #key = randomBytes(16).toString('hex');
  #exit: Exit | undefined;

  private constructor({ root, ...options }: ServerOptions) {
    this.#child = spawn(process.execPath, [join(root, 'dist/src/cli.js'), 'serve'], {
      cwd: this.#folder,
      env: { ...environment(root, options), API_KEY: this.#key, DATA_DIR: this.#folder },
      stdio: ['ignore', 'pipe', 'ignore'],
      // Ctrl-C is meant for the run, which ends the server in good order.
      detached: true,
    });
    process.once('exit', this.#killAtExit);
    createInterface(this.#child.stdout!).on('line', (line) => this.log.add(line));
    this.exited = new Promise((resolve) => {
      this.#child.once('close', (code, signal) => resolve(this.#onExit({ code, signal })));
    });
  }

  /** Starts one and waits until all of its workers take requests. @throws ChaosError when it ends instead. */
  static async start(options: ServerOptions): Promise<Server> {
    const server = new Server(options);
    const { log } = server;
    const ready = () =>
      log.port !== undefined && log.workers.filter((worker) => worker.ready).length === options.workers;
    const ended = server.exited.then(({ code }) => {
      throw new ChaosError(`the server ended at its start, code ${code}`);
    });
    await Promise.race([log.until(ready), ended]);
    return server;
  }

  get pid(): number {
    return this.#child.pid!;
  }

  get target(): Target {
    return { port: this.log.port!, key: this.#key };
  }

  /** How it ended; undefined while it runs. */
  get exit(): Exit | undefined {
    return this.#exit;
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  readonly #killAtExit = (): void => {
    if (this.#exit === undefined) this.#child.kill('SIGKILL');
  };

  #onExit(exit: Exit): Exit {
    this.#exit = exit;
    process.off('exit', this.#killAtExit);
    rmSync(this.#folder, { recursive: true, force: true });
    return exit;
  }
}

/** Nothing of the caller's but what finds programs; the demo model is small, so one thread a worker is quickest. */
function environment(root: string, options: Omit<ServerOptions, 'root'>): NodeJS.ProcessEnv {
  const { PATH, LLM_BIN_PATH } = process.env;
  const deadline = options.hangMs === undefined ? undefined : String(options.hangMs / 1000);
  return {
    PATH,
    LLM_BIN_PATH,
    HOST: '127.0.0.1',
    PORT: '0',
    LLM_MODEL_PATH: join(root, 'models/lmserv-demo.gguf'),
    LLM_WORKERS: String(options.workers),
    LLM_THREADS: '1',
    CACHE_RAM_MB: '0',
    QUEUE_LIMIT: String(options.queueLimit),
    SHUTDOWN_GRACE_SECS: String(options.graceMs / 1000),
    ...(deadline === undefined ? {} : { FIRST_TOKEN_TIMEOUT_SECS: deadline, TOKEN_TIMEOUT_SECS: deadline }),
  };
}
