import { spawn, type ChildProcess, type Serializable } from 'node:child_process';
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
  /** Where it runs and keeps its data; removed after its end. A new one by default. */
  readonly folder?: string;
  /** Variables besides those that every run sets. */
  readonly settings?: Readonly<Record<string, string>>;
  /** A module that is loaded into the server's process before the server, and talks with this one. */
  readonly preload?: URL;
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
  readonly #folder: string;
  readonly #key = randomBytes(16).toString('hex');
  #exit: Exit | undefined;

  private constructor({ root, ...options }: ServerOptions) {
    const { folder = mkdtempSync(join(tmpdir(), 'lmserv-chaos-')), preload, settings } = options;
    const loaded = preload === undefined ? [] : ['--import', preload.href];
    this.#folder = folder;
    this.#child = spawn(process.execPath, [...loaded, join(root, 'dist/src/cli.js'), 'serve'], {
      cwd: folder,
      env: { ...environment(root, options), API_KEY: this.#key, DATA_DIR: folder, ...settings },
      stdio: ['ignore', 'pipe', 'ignore', ...(preload === undefined ? [] : ['ipc' as const])],
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

  /** Tells the module that was loaded first something. */
  tell(message: Serializable): void {
    // A server that has ended is noticed elsewhere.
    if (this.#child.connected) this.#child.send(message, () => undefined);
  }

  /** What that module tells. */
  onTold(callback: (message: Serializable) => void): void {
    this.#child.on('message', callback);
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
