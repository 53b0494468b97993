import { execFile, spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import { EventEmitter, on, once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { ROOT } from '../../../src/config/root.js';

export const CLI = join(ROOT, 'dist/src/cli.js');
export const KEY = 'service-test-key';

/** Compiles what is not compiled yet. */
export const build = () =>
  promisify(execFile)(process.execPath, [join(ROOT, 'scripts/bootstrap.mjs'), 'build']);

/** A server with the mock, which needs no llama.cpp; `folder` is its own. */
export const settings = (folder: string) => ({
  PATH: process.env.PATH,
  ...{ PORT: '0', HOST: '127.0.0.1', API_KEY: KEY, DATA_DIR: folder, LLM_CONNECT_PROVIDER: 'mock' },
});

type Line = Record<string, any>;

/** A program whose stdout is JSON lines. */
export class Program {
  readonly lines: Line[] = [];
  readonly child: ChildProcess;
  readonly exited: Promise<unknown[]>;
  readonly #events = new EventEmitter().setMaxListeners(0);

  constructor(
    command: string,
    args: readonly string[],
    options: { env: object; cwd: string; stdio: StdioOptions },
  ) {
    this.child = spawn(command, args, { ...options, env: options.env as NodeJS.ProcessEnv });
    this.exited = once(this.child, 'exit');
    createInterface(this.child.stdout!).on('line', (text) => {
      const line = JSON.parse(text) as Line;
      this.lines.push(line);
      this.#events.emit('line', line);
    });
  }

  /** The n-th line of an event, so far or yet to come. */
  async line(event: string, n = 1): Promise<Line> {
    const found = () => this.lines.filter((line) => line.event === event)[n - 1];
    const known = found();
    if (known) return known;
    for await (const _ of on(this.#events, 'line')) {
      const come = found();
      if (come) return come;
    }
    throw new Error('the lines have ended');
  }
}
