import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** Small enough that the bodies which turn out to be valid cost little. */
const SETTINGS = {
  ...{
    HOST: '127.0.0.1',
    PORT: '0',
    LLM_WORKERS: '2',
    LLM_SLOTS: '4',
    LLM_CTX_SIZE: '256',
    LLM_THREADS: '1',
  },
  ...{
    MAX_TOKENS_CAP: '4',
    CACHE_RAM_MB: '0',
    QUEUE_LIMIT: '1024',
    LOG_LEVEL: 'WARN',
    UNKNOWN_MODEL: 'default',
  },
};

/** A real LMServ on the demo model, in a process of its own, watched from outside. */
export class WatchedServer {
  readonly #folder = mkdtempSync(join(tmpdir(), 'lmserv-bodies-'));
  readonly key = randomBytes(16).toString('hex');
  readonly #child: ChildProcess;
  readonly #ready: Promise<string>;
  readonly #warnings: string[] = [];
  #exit: string | undefined;

  constructor(root: string) {
    const env = {
      ...{ PATH: process.env.PATH, LLM_BIN_PATH: process.env.LLM_BIN_PATH, ...SETTINGS },
      ...{ API_KEY: this.key, DATA_DIR: this.#folder, LLM_MODEL_PATH: join(root, 'models/lmserv-demo.gguf') },
    };
    const program = [join(root, 'dist/src/cli.js'), 'serve'];
    this.#child = spawn(process.execPath, program, {
      cwd: this.#folder,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child.once(
      'exit',
      (code, signal) => (this.#exit = `the server ended: ${signal ?? `exit code ${code}`}`),
    );
    this.#ready = new Promise((resolve, reject) => {
      const onLine = (line: string) => {
        const url = /http:\/\/127\.0\.0\.1:\d+/.exec(line)?.[0];
        if (url !== undefined) resolve(url);
      };
      createInterface(this.#child.stderr!).on('line', onLine);
      this.#child.once('exit', () => reject(new Error(this.#exit)));
    });
    createInterface(this.#child.stdout!).on('line', (line) => this.#note(line));
  }

  /** Resolves with its address once it takes requests. @throws when it ends before. */
  ready(): Promise<string> {
    return this.#ready;
  }

  /** What no body may bring about: the end of a worker or of the server. */
  fault(): string | undefined {
    return this.#exit ?? this.#warnings.find((line) => line.includes('"worker_exit"'));
  }

  /** Unplanned errors that it logged. */
  get errors(): readonly string[] {
    return this.#warnings.filter((line) => line.includes('"internal_error"'));
  }

  /** Resident memory, MiB. */
  memory(): number {
    const status = readFileSync(`/proc/${this.#child.pid}/status`, 'utf8');
    return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) / 1024;
  }

  async stop(): Promise<void> {
    if (this.#exit === undefined) {
      this.#child.kill('SIGTERM');
      await once(this.#child, 'exit');
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #note(line: string): void {
    if (this.#warnings.length < 1_000 && /"(worker_exit|internal_error|crash)"/.test(line))
      this.#warnings.push(line);
  }
}
