import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import { EventEmitter, on, once } from 'node:events';
import { createInterface } from 'node:readline';
import { CLI, compile } from '../../harness/server-process.js';
import { emptyFolder } from '../../support/folder.js';

export { CLI };
export const KEY = 'service-test-key';

/** The working folder of the programs, and their data folder. */
export const folder = emptyFolder();

beforeAll(compile, 300_000);

const programs: Program[] = [];
afterEach(() => Promise.all(programs.splice(0).map((program) => program.kill())));

/** The settings of a server with the mock. */
export const settings = () => ({
  PATH: process.env.PATH,
  ...{ PORT: '0', HOST: '127.0.0.1', API_KEY: KEY, DATA_DIR: folder, LLM_CONNECT_PROVIDER: 'mock' },
});

/** `lmserv serve` with the mock, which needs no llama.cpp, until the end of the test. */
export const serve = (env: object = {}): Program => new Program(process.execPath, [CLI, 'serve'], env);

type Line = Record<string, any>;

/** A program whose stdout is JSON lines, with the settings of a server. */
export class Program {
  readonly lines: Line[] = [];
  readonly child: ChildProcess;
  readonly exited: Promise<unknown[]>;
  readonly #events = new EventEmitter().setMaxListeners(0);

  constructor(
    command: string,
    args: readonly string[],
    env: object,
    stdio: StdioOptions = ['ignore', 'pipe', 'inherit'],
  ) {
    this.child = spawn(command, args, { cwd: folder, env: { ...settings(), ...env }, stdio });
    programs.push(this);
    this.exited = once(this.child, 'exit');
    createInterface(this.child.stdout!).on('line', (text) => {
      const line = JSON.parse(text) as Line;
      this.lines.push(line);
      this.#events.emit('line', line);
    });
  }

  /** The n-th line of an event, so far or yet to come. */
  async line(event: string, n = 1): Promise<Line> {
    for (const arrivals = on(this.#events, 'line'); ; await arrivals.next()) {
      const line = this.lines.filter((line) => line.event === event)[n - 1];
      if (line) return line;
    }
  }

  /** Ends it, and then the processes that it has logged as its own. */
  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.exited;
    for (const { event, pid } of this.lines) {
      if (event !== 'process') continue;
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended.
      }
    }
  }
}
