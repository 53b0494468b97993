import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { BenchError } from './errors.js';
import { listeningPort } from './proc.js';
import { NODE_ARGS, Program, type Exit, type Stoppable } from './program.js';
import { ServerLog } from './server-log.js';

export interface ServerOptions {
  /** The checkout whose compiled code runs. */
  readonly root: string;
  /** Variables of LMServ beside those that every benchmark sets. */
  readonly settings: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
  /** What is run, a program and its arguments; the compiled command line by default. */
  readonly command?: readonly [string, ...string[]];
  /** The mock generates, and there are no workers. */
  readonly mock?: boolean;
}

const KEY = 'bench-key';

/** The same for all benchmarks: nothing is cached between requests, nothing is refused, no reply ends early. */
const SETTINGS = {
  HOST: '127.0.0.1',
  PORT: '0',
  API_KEY: KEY,
  UNKNOWN_MODEL: 'default',
  CACHE_RAM_MB: '0',
  QUEUE_LIMIT: '256',
  QUEUE_TIMEOUT_SECS: '600',
  SHUTDOWN_GRACE_SECS: '0',
  LLM_EXTRA_ARGS: '--ignore-eos',
};

/** What a program may need to be found and loaded; nothing else of the environment changes what is measured. */
const INHERITED = ['PATH', 'HOME', 'LD_LIBRARY_PATH', 'LLM_BIN_PATH', 'LMSERV_CACHE_DIR', 'XDG_CACHE_HOME'];

/** A whole LMServ in a process of its own, on a free port of 127.0.0.1, with a folder of its own. */
export class BenchServer implements Stoppable {
  readonly log = new ServerLog();
  readonly #folder: string;
  readonly #program: Program;

  private constructor({ root, settings, command, mock }: ServerOptions, folder: string) {
    this.#folder = folder;
    const serve = [...NODE_ARGS, path.join(root, 'dist/src/cli.js'), 'serve'];
    const [file, ...args] = command ?? [process.execPath, ...serve, ...(mock ? ['--provider', 'mock'] : [])];
    this.#program = new Program(file, args, {
      cwd: folder,
      env: { ...inherited(), ...SETTINGS, DATA_DIR: folder, ...settings },
      onLine: this.log.add,
    });
  }

  /** Starts it and does not wait for anything. */
  static async spawn(options: ServerOptions): Promise<BenchServer> {
    return new BenchServer(options, await mkdtemp(path.join(tmpdir(), 'lmserv-bench-')));
  }

  /** Starts it and waits until all its workers take requests. @throws BenchError, or the signal's reason. */
  static async start(options: ServerOptions): Promise<BenchServer> {
    const server = await BenchServer.spawn(options);
    try {
      await server.until('listening', options.signal);
      const workers = options.mock ? 0 : Number(options.settings.LLM_WORKERS ?? 1);
      await server.until('worker_ready', options.signal, workers);
      return server;
    } catch (error) {
      await server.stop();
      throw error;
    }
  }

  get pid(): number {
    return this.#program.pid!;
  }

  /** Known once it listens. */
  get url(): string {
    return `http://127.0.0.1:${this.log.of('listening')[0]!.port}`;
  }

  /** What its routes want to see. */
  get headers(): Record<string, string> {
    return { 'content-type': 'application/json', 'x-api-key': KEY };
  }

  /** Resolves when it has ended, with how. */
  ended(): Promise<Exit> {
    return this.#program.ended();
  }

  kill(signal: NodeJS.Signals): void {
    this.#program.kill(signal);
  }

  /** Process ids of the workers that were ever ready. */
  get workerPids(): number[] {
    return this.log.of('worker_ready').map(({ pid }) => pid!);
  }

  /** The address of the first worker's own endpoint. @throws BenchError when it has none over TCP. */
  get workerUrl(): string {
    const port = listeningPort(this.workerPids[0]!);
    if (port === undefined)
      throw new BenchError(
        'the worker listens on no port: the benchmark needs a llama-cli, not a llama-server',
      );
    return `http://127.0.0.1:${port}`;
  }

  /** Waits for that many log lines of an event. @throws BenchError when the server ends first, or the signal's reason. */
  async until(event: string, signal: AbortSignal, count = 1): Promise<void> {
    const over = new AbortController();
    const ended = this.#program.ended().then(() => {
      throw new BenchError(`LMServ ended before it was ready:\n${this.#program.tail}`);
    });
    const found = this.log.until(event, AbortSignal.any([signal, over.signal]), count);
    found.catch(() => undefined);
    try {
      await Promise.race([found, ended]);
    } finally {
      ended.catch(() => undefined);
      over.abort();
    }
  }

  async stop(): Promise<void> {
    await this.#program.stop();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

function inherited(): Record<string, string> {
  return Object.fromEntries(
    INHERITED.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])),
  );
}
