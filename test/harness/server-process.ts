import { execFile, type Serializable } from 'node:child_process';
import { EventEmitter, on } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ROOT } from '../../src/config/root.js';
import { UserError } from '../../src/errors.js';
import { isAlive } from './processes.js';
import { Program, type Command, type Exit, type ProgramOptions } from './program.js';

/** The operator's key. */
export const KEY = 'live-test-key';
export const DEMO_MODEL = join(ROOT, 'models/lmserv-demo.gguf');

/** The command line of this checkout, compiled. */
export const CLI = join(ROOT, 'dist/src/cli.js');

/** Compiles what is not compiled yet: seconds, unless the machine is busy. */
export async function compile(): Promise<void> {
  await promisify(execFile)(process.execPath, [join(ROOT, 'scripts/bootstrap.mjs'), 'build']);
}

export interface LogLine {
  readonly level: number;
  /** ISO 8601, to the millisecond. */
  readonly time: string;
  readonly event?: string;
  readonly [field: string]: any;
}

/** A living worker as the log shows it. */
export interface LoggedWorker {
  readonly id: string;
  readonly pid: number;
  /** It takes requests. */
  readonly ready: boolean;
}

/** pino's number for an error; warnings are below it. */
const ERROR = 50;

/** Most of a long run's log: one line per request, which says nothing more unless the request was tried again. */
const PLAIN_REQUEST = /"event":"request"(?!.*"attempts":)/;

/** Older lines are dropped. */
const MAX_LINES = 100_000;

/** A server as its log shows it. */
export class LoggedServer {
  /** Lines so far, in order. */
  readonly lines: LogLine[] = [];
  readonly #added = new EventEmitter().setMaxListeners(0);
  readonly #workers = new Map<number, LoggedWorker>();
  readonly #keepRequests: boolean;
  #port: number | undefined;

  /** @param keepRequests whether lines of requests that were not tried again are kept; reading them takes time */
  constructor(keepRequests: boolean) {
    this.#keepRequests = keepRequests;
  }

  /** Takes a line of output. What is not JSON, such as the greeting or a line that was cut, is ignored. */
  readonly add = (text: string): void => {
    if (!text.startsWith('{') || (!this.#keepRequests && PLAIN_REQUEST.test(text))) return;
    const line = parse(text);
    if (line === undefined) return;
    this.#note(line);
    if (this.lines.push(line) > MAX_LINES) this.lines.shift();
    this.#added.emit('line', line);
  };

  get port(): number {
    if (this.#port === undefined) throw new Error('the server does not listen yet');
    return this.#port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** The living workers, in the order of their positions. */
  get workers(): LoggedWorker[] {
    return [...this.#workers.values()].sort((a, b) => a.id.localeCompare(b.id));
  }

  /** Lines of level error or worse. */
  get errors(): LogLine[] {
    return this.lines.filter(({ level }) => level >= ERROR);
  }

  /** Log lines of an event so far. */
  logged(event: string): any[] {
    return this.lines.filter((line) => line.event === event);
  }

  /** The next log line of an event that fits. */
  next(event: string, fits: (line: any) => boolean = () => true): Promise<LogLine> {
    return this.#comes((line) => line.event === event && fits(line));
  }

  /** The first log line of an event that fits, so far or yet to come. @throws an AbortError if the signal aborts. */
  async until(
    event: string,
    fits: (line: any) => boolean = () => true,
    signal?: AbortSignal,
  ): Promise<LogLine> {
    const matches = (line: LogLine) => line.event === event && fits(line);
    return this.lines.find(matches) ?? (await this.#comes(matches, signal));
  }

  /** Resolves once /ready says so. */
  async untilReady(fits: (state: any) => boolean): Promise<void> {
    for (;;) if (fits(await (await fetch(`${this.url}/ready`)).json())) return;
  }

  #note({ event, pid, worker, port }: LogLine): void {
    if (event === 'listening') this.#port = port;
    if (event === 'worker_spawn') this.#workers.set(pid, { id: worker, pid, ready: false });
    if (event === 'worker_ready') this.#workers.set(pid, { ...this.#workers.get(pid)!, ready: true });
    if (event === 'worker_exit') this.#workers.delete(pid);
  }

  async #comes(matches: (line: LogLine) => boolean, signal?: AbortSignal): Promise<LogLine> {
    const lines = on(this.#added, 'line', signal && { signal }) as AsyncIterable<[LogLine]>;
    for await (const [line] of lines) if (matches(line)) return line;
    throw new Error('the log has ended');
  }
}

function parse(text: string): LogLine | undefined {
  try {
    return JSON.parse(text) as LogLine;
  } catch {
    return undefined;
  }
}

/** Variables of this process that a server may need to find and load programs; no others reach it. */
const INHERITED = ['PATH', 'HOME', 'LD_LIBRARY_PATH', 'LLM_BIN_PATH', 'LMSERV_CACHE_DIR', 'XDG_CACHE_HOME'];

/** The environment of an LMServ on the demo model and a free port, which keeps its data in a folder. */
export function serverEnvironment(folder: string): NodeJS.ProcessEnv {
  return {
    ...Object.fromEntries(INHERITED.map((name) => [name, process.env[name]])),
    HOST: '127.0.0.1',
    PORT: '0',
    API_KEY: KEY,
    DATA_DIR: folder,
    ...DEMO_SETTINGS,
  };
}

/** The demo model is small: with more threads, each would wait for the others longer than it computes. */
export const DEMO_SETTINGS = {
  LLM_MODEL_PATH: DEMO_MODEL,
  LLM_THREADS: '1',
  LLM_SLOTS: '1',
  CACHE_RAM_MB: '0',
};

export interface ServerOptions extends Pick<ProgramOptions, 'detached' | 'ipc'> {
  /** Where it runs and keeps its data; by default a new folder, which is removed after its end. */
  readonly folder?: string | undefined;
  /** Variables beside those of `serverEnvironment`, or instead of them. */
  readonly settings?: NodeJS.ProcessEnv;
  /** By default `lmserv serve`. */
  readonly command?: Command | undefined;
  readonly keepRequests?: boolean;
}

/** A whole LMServ as users run it: a process, known by its log and its port only. */
export class ServerProcess extends LoggedServer {
  readonly #program: Program;

  /** Starts it and waits for nothing. */
  constructor(options: ServerOptions = {}) {
    super(options.keepRequests ?? false);
    const folder = options.folder ?? mkdtempSync(join(tmpdir(), 'lmserv-'));
    this.#program = new Program(options.command ?? [process.execPath, CLI, 'serve'], {
      cwd: folder,
      env: { ...serverEnvironment(folder), ...options.settings },
      onLine: this.add,
      detached: options.detached,
      ipc: options.ipc,
    });
    if (options.folder === undefined)
      void this.exited.then(() => rmSync(folder, { recursive: true, force: true }));
  }

  /**
   * Resolves once it listens and so many workers take requests; otherwise stops it.
   * @throws UserError if it ends instead; the signal's reason
   */
  async untilStarted(workers = 1, signal?: AbortSignal): Promise<this> {
    const over = new AbortController();
    const ended = this.exited.then(() => {
      throw new UserError(`LMServ ended before it was ready:\n${this.#program.tail}`);
    });
    const either = AbortSignal.any([over.signal, ...(signal ? [signal] : [])]);
    const ready = () => this.workers.filter((worker) => worker.ready).length >= workers;
    const started = Promise.all([
      this.until('listening', undefined, either),
      ready() || this.until('worker_ready', ready, either),
    ]);
    started.catch(() => undefined);
    ended.catch(() => undefined);
    try {
      await Promise.race([started, ended]);
      return this;
    } catch (error) {
      await this.stop();
      signal?.throwIfAborted();
      throw error;
    } finally {
      over.abort();
    }
  }

  get pid(): number {
    return this.#program.pid;
  }

  get exited(): Promise<Exit> {
    return this.#program.exited;
  }

  /** How it ended; undefined while it runs. */
  get exit(): Exit | undefined {
    return this.#program.exit;
  }

  /** The process ids of all workers so far, of one model or of all. */
  spawnedPids(model = ''): number[] {
    return this.logged('worker_spawn')
      .filter(({ worker }) => worker.startsWith(model))
      .map(({ pid }) => pid);
  }

  /** Those of them that are alive. */
  workerPids(model = ''): number[] {
    return this.spawnedPids(model).filter(isAlive);
  }

  signal(name: NodeJS.Signals): void {
    this.#program.signal(name);
  }

  tell(message: Serializable): void {
    this.#program.tell(message);
  }

  onMessage(callback: (message: any) => void): void {
    this.#program.onMessage(callback);
  }

  /** Ends it in good order. @returns its exit code */
  async stop(): Promise<number | null> {
    return (await this.#program.stop()).code;
  }

  /** Ends it as the kernel would. May be called again. */
  async kill(): Promise<void> {
    this.signal('SIGKILL');
    await this.exited;
  }
}
