import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { createServer, type CreateServerOptions } from '../../src/app/create-server.js';
import { ROOT } from '../../src/config/root.js';
import type { LMServ } from '../../src/app/server.js';
import { resolveBinary } from '../../workers/binary.js';
import {
  CLI,
  compile,
  DEMO_MODEL,
  DEMO_SETTINGS,
  KEY,
  LoggedServer,
  serverEnvironment,
  ServerProcess,
} from '../harness/server-process.js';

export { CLI, compile, DEMO_MODEL, KEY as LIVE_KEY, serverEnvironment as processSettings };

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
  // Tests that are not about loading find every model loaded, and again after kills.
  pin: true,
  ...settings,
});

/** Makes llama.cpp ignore the model's end of turn, so that a reply runs until its `max_tokens`, whatever the route. */
export const ENDLESS = '--ignore-eos';

/** The llama-server that was built beside the llama-cli in use. */
export async function llamaServer(): Promise<string> {
  const { LLM_BIN_PATH: configured, PATH: searchPath } = process.env;
  const cli = await resolveBinary({ configured, root: ROOT, searchPath });
  return cli.path.replace(/llama-cli$/, 'llama-server');
}

type Settings = Readonly<Record<string, string>>;

/** A whole LMServ on real llama.cpp and the demo model, in this process, on a free port. */
export class LiveServer extends LoggedServer {
  readonly server: LMServ;
  readonly dataDir = mkdtempSync(join(tmpdir(), 'lmserv-live-'));

  /** @param env settings, or what makes them of the server's own folder, which goes with it. */
  constructor(env: Settings | ((folder: string) => Settings) = {}, options: CreateServerOptions = {}) {
    super(true);
    this.server = createServer({
      port: 0,
      apiKey: KEY,
      host: '127.0.0.1',
      env: {
        ...DEMO_SETTINGS,
        DATA_DIR: this.dataDir,
        ...(typeof env === 'function' ? env(this.dataDir) : env),
      },
      logger: pino({ level: 'info' }, { write: this.add }),
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

  /** Resolves once every slot is free, as /ready tells it. */
  untilIdle(): Promise<void> {
    return this.untilReady(({ slots }) => slots.idle === slots.total);
  }

  /** Process ids of the living workers. */
  workerPids(): number[] {
    return this.server.workerPids();
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
    for (const pid of server.workerPids()) killIfThere(pid);
    await exit;
  }
}

/** A worker may have ended by itself, before its server knows. */
function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** A whole LMServ as its users run it: a process, from the compiled code. */
export class LiveProcess extends ServerProcess {
  /**
   * Compiles what is not compiled yet, starts the server and waits until it takes requests.
   *
   * @param program what starts it, below `dist/`.
   */
  static async start(
    folder: string,
    settings: Settings = {},
    [file, ...args]: readonly string[] = ['src/cli.js', 'serve'],
  ): Promise<LiveProcess> {
    await compile();
    const command = [process.execPath, join(ROOT, 'dist', file!), ...args] as const;
    return new LiveProcess({ folder, settings, command, keepRequests: true }).untilStarted();
  }

  /** Its exit code, once it has ended. */
  get exitCode(): Promise<number | null> {
    return this.exited.then(({ code }) => code);
  }

  /** Ends it as the kernel would, and waits until its workers, too, are gone. May be called again. */
  override async kill(): Promise<void> {
    await super.kill();
    while (this.workerPids().length > 0) await new Promise(setImmediate);
  }
}
