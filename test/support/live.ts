import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { EventEmitter, on, once } from 'node:events';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { pino } from 'pino';
import { createServer, type CreateServerOptions } from '../../src/app/create-server.js';
import { ROOT } from '../../src/config/root.js';
import type { LMServ } from '../../src/app/server.js';
import { resolveBinary } from '../../workers/binary.js';
import { isAlive } from './pool.js';

export const LIVE_KEY = 'live-test-key';
export const DEMO_MODEL = join(ROOT, 'models/lmserv-demo.gguf');

export const newFolder = (): string => mkdtempSync(join(tmpdir(), 'lmserv-live-'));

/** Writes a configuration file the way editors do, whole or not at all, and returns its path. */
export function writeConfig(folder: string, config: object | string): string {
  const path = join(folder, 'lmserv.config.json');
  writeFileSync(`${path}.new`, typeof config === 'string' ? config : JSON.stringify(config));
  renameSync(`${path}.new`, path);
  return path;
}

/** A local model on the demo file, for a configuration. */
export const demoModel = (settings: object = {}) => ({
  path: DEMO_MODEL,
  threads: 1,
  slots: 1,
  cacheRamMb: 0,
  ...settings,
});

/** Makes llama.cpp ignore the model's end of turn, so that a reply runs until its `max_tokens`, whatever the route. */
export const ENDLESS = '--ignore-eos';

/** The demo model is small: more threads would wait for one another longer than they compute. */
const DEMO = { LLM_MODEL_PATH: DEMO_MODEL, LLM_THREADS: '1', LLM_SLOTS: '1', CACHE_RAM_MB: '0' };

/** The llama-server that was built beside the llama-cli in use. */
export async function llamaServer(): Promise<string> {
  const { LLM_BIN_PATH: configured, PATH: searchPath } = process.env;
  const cli = await resolveBinary({ configured, root: ROOT, searchPath });
  return cli.path.replace(/llama-cli$/, 'llama-server');
}

type Line = Record<string, any>;

/** Log lines, to look back on and to wait for. */
class LogLines {
  readonly lines: Line[] = [];
  readonly #events = new EventEmitter().setMaxListeners(0);

  readonly add = (text: string): void => {
    const line = JSON.parse(text) as Line;
    this.lines.push(line);
    this.#events.emit('line', line);
    this.#events.emit(String(line.event), line);
  };

  async next(event: string): Promise<any> {
    return (await once(this.#events, event))[0];
  }

  /** The first line of that kind, so far or yet to come. */
  async until(event: string, fits: (line: any) => boolean): Promise<any> {
    const matches = (line: Line) => line.event === event && fits(line);
    const known = this.lines.find(matches);
    if (known) return known;
    for await (const [line] of on(this.#events, 'line') as AsyncIterable<[Line]>)
      if (matches(line)) return line;
  }
}

type Settings = Readonly<Record<string, string>>;

/** A whole LMServ on real llama.cpp and the demo model, in this process, on a free port. */
export class LiveServer {
  readonly #log = new LogLines();
  readonly server: LMServ;
  readonly dataDir = newFolder();

  /** @param env settings, or what makes them of the server's own folder, which goes with it. */
  constructor(env: Settings | ((folder: string) => Settings) = {}, options: CreateServerOptions = {}) {
    this.server = createServer({
      port: 0,
      apiKey: LIVE_KEY,
      host: '127.0.0.1',
      env: {
        ...DEMO,
        DATA_DIR: this.dataDir,
        ...(typeof env === 'function' ? env(this.dataDir) : env),
      },
      logger: pino({ level: 'info' }, { write: this.#log.add }),
      ...options,
    });
  }

  async start(): Promise<this> {
    await this.server.start();
    await this.server.ready;
    return this;
  }

  /** Ends the server and removes what it wrote. */
  async stop(): Promise<void> {
    await this.server.stop();
    rmSync(this.dataDir, { recursive: true, force: true });
  }

  get url(): string {
    return `http://127.0.0.1:${this.server.port}`;
  }

  get lines(): readonly Line[] {
    return this.#log.lines;
  }

  /** The next log line of an event. */
  next(event: string): Promise<any> {
    return this.#log.next(event);
  }

  /** The first log line of an event that fits, so far or yet to come. */
  until(event: string, fits: (line: any) => boolean = () => true): Promise<any> {
    return this.#log.until(event, fits);
  }

  /** Log lines of an event so far. */
  logged(event: string): any[] {
    return this.lines.filter((line) => line.event === event);
  }

  /** Resolves once /ready says so. */
  async untilReady(fits: (state: any) => boolean): Promise<void> {
    for (;;) if (fits(await (await fetch(`${this.url}/ready`)).json())) return;
  }

  /** Resolves once every slot is free, as /ready tells it. */
  untilIdle(): Promise<void> {
    return this.untilReady(({ slots }) => slots.idle === slots.total);
  }

  /** Process ids of the living workers. */
  workerPids(): number[] {
    return this.server.workerPids();
  }

  post(path: string, body: object, init: RequestInit = {}): Promise<Response> {
    return fetch(this.url + path, {
      method: 'POST',
      headers: { 'X-API-Key': LIVE_KEY, 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
      ...init,
    });
  }
}

/** Kills each worker that takes up work until the reply is there: one that dies before its first token is replaced. */
export async function killWorkersUntil<T>(server: LiveServer | LiveProcess, reply: Promise<T>): Promise<T> {
  let done = false;
  const noted = reply.finally(() => (done = true));
  noted.catch(() => undefined);
  for (;;) {
    await server.untilReady(({ workers }) => done || workers.busy > 0);
    if (done) return noted;
    const exit = server.next('worker_exit');
    for (const pid of server.workerPids()) process.kill(pid, 'SIGKILL');
    await exit;
  }
}

/** Compiles what is not compiled yet. */
export async function compile(): Promise<void> {
  await promisify(execFile)(process.execPath, [join(ROOT, 'scripts/bootstrap.mjs'), 'build']);
}

/** The environment of an LMServ that is a process of its own, on a free port. */
export const processSettings = (folder: string): NodeJS.ProcessEnv => ({
  ...{ PATH: process.env.PATH, LLM_BIN_PATH: process.env.LLM_BIN_PATH },
  ...{ PORT: '0', HOST: '127.0.0.1', API_KEY: LIVE_KEY, DATA_DIR: folder },
  ...DEMO,
});

/** A whole LMServ as its users run it: a process of its own, by the command line, from the compiled code. */
export class LiveProcess {
  readonly #log = new LogLines();
  readonly #child: ChildProcess;
  readonly #exited: Promise<[number | null, NodeJS.Signals | null]>;

  private constructor(folder: string, env: Settings, program: readonly string[]) {
    const [script, ...args] = program;
    this.#child = spawn(process.execPath, [join(ROOT, 'dist', script!), ...args], {
      cwd: folder,
      env: { ...processSettings(folder), ...env },
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    this.#exited = once(this.#child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
    createInterface(this.#child.stdout!).on('line', this.#log.add);
  }

  /**
   * Compiles what is not compiled yet, starts the server and waits until it takes requests.
   *
   * @param program what starts it, below `dist/`.
   */
  static async start(
    folder: string,
    env: Settings = {},
    program: readonly string[] = ['src/cli.js', 'serve'],
  ): Promise<LiveProcess> {
    await compile();
    const started = new LiveProcess(folder, env, program);
    await Promise.race([
      Promise.all([started.until('listening'), started.until('worker_ready')]),
      started.#exited.then(() => Promise.reject(new Error('the server ended at its start'))),
    ]);
    return started;
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** Its exit code, once it has ended. */
  get exitCode(): Promise<number | null> {
    return this.#exited.then(([code]) => code);
  }

  get url(): string {
    return `http://127.0.0.1:${this.#log.lines.find((line) => line.event === 'listening')!.port}`;
  }

  /** The first log line of an event that fits, so far or yet to come. */
  until(event: string, fits: (line: any) => boolean = () => true): Promise<any> {
    return this.#log.until(event, fits);
  }

  /** The next log line of an event. */
  next(event: string): Promise<any> {
    return this.#log.next(event);
  }

  get lines(): readonly Line[] {
    return this.#log.lines;
  }

  /** Log lines of an event so far. */
  logged(event: string): any[] {
    return this.#log.lines.filter((line) => line.event === event);
  }

  /** Process ids of the living workers, of one model or of all. */
  workerPids(model = ''): number[] {
    return this.logged('worker_spawn')
      .filter(({ worker }) => worker.startsWith(model))
      .map(({ pid }) => pid as number)
      .filter(isAlive);
  }

  /** Resolves once /ready says so. */
  async untilReady(fits: (state: any) => boolean): Promise<void> {
    for (;;) if (fits(await (await fetch(`${this.url}/ready`)).json())) return;
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** Ends it in good order; the exit code. */
  stop(): Promise<number | null> {
    this.signal('SIGTERM');
    return this.exitCode;
  }

  /** Ends it as the kernel would, and waits until its workers, too, are gone. May be called again. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exited;
    while (this.workerPids().length > 0) await new Promise(setImmediate);
  }
}
