import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { canOpen } from './descriptors.js';
import { findSetpriv, guardGroup, withDeathSignal } from './death-signal.js';
import { buildArgs, buildEnv, type Endpoint, type WorkerOptions } from './options.js';
import { StderrTail } from './stderr-tail.js';

/** How a child ended. */
export interface ExitCause {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Why it could not even be started, e.g. `ENOENT`. */
  readonly spawnError?: string;
}

/** Time a child has to obey SIGTERM before it gets SIGKILL, milliseconds. */
const TERM_GRACE_MS = 5_000;

/** Descriptors that a child and its guard take while they are started, and some to spare. */
const DESCRIPTORS = 16;

/**
 * One llama.cpp process in a process group of its own. It dies with us: `setpriv --pdeathsig`, or a guard
 * where that is missing, ends it when we are killed. Its stdin is held open and never written to, because there each
 * line would be a command; at its end llama-cli would print its prompt for ever.
 */
export class LlamaChild {
  readonly pid: number | undefined;
  readonly stderr: StderrTail;
  /** Resolves when the process is gone; never rejects. */
  readonly exited: Promise<ExitCause>;
  readonly #socketFolder: string | undefined;
  /** Where a llama-server was told to listen; a llama-cli picks a port and logs it. */
  readonly listen: Endpoint | undefined;
  #ended = false;

  constructor(options: WorkerOptions, env: NodeJS.ProcessEnv, onLine: (line: string) => void) {
    this.stderr = new StderrTail(onLine);
    // Where descriptors run out in the middle of it, Node's spawn loses some for good and fails where nobody can catch it.
    if (!canOpen(DESCRIPTORS)) {
      this.exited = Promise.resolve({ code: null, signal: null, spawnError: 'EMFILE' });
      return;
    }
    if (options.binary.kind === 'llama-server') {
      // A fresh folder, 0700, for each child: a stale socket of a dead one is never in the way.
      this.#socketFolder = mkdtempSync(join(tmpdir(), 'lmserv-'));
      this.listen = {
        socketPath: join(this.#socketFolder, 'llama.sock'),
        apiKey: randomBytes(32).toString('base64url'),
      };
    }
    const args = buildArgs(options, this.listen);
    const setpriv = findSetpriv(env.PATH);
    const [file, argv] = setpriv
      ? withDeathSignal(setpriv, options.binary.path, args)
      : [options.binary.path, args];
    const launched = launch(file, argv, buildEnv(env, options, this.listen));
    this.pid = launched.pid;
    const endGuard = setpriv || this.pid === undefined ? undefined : guardGroup(this.pid);
    launched.stderr?.setEncoding('utf8').on('data', (chunk: string) => this.stderr.push(chunk));
    launched.stdin?.on('error', () => undefined);
    this.exited = launched.then((result) => {
      this.#ended = true;
      endGuard?.();
      if (this.#socketFolder) rmSync(this.#socketFolder, { recursive: true, force: true });
      const spawnError = this.pid === undefined ? (result.code ?? 'spawn failed') : undefined;
      return {
        code: result.exitCode ?? null,
        signal: result.signal ?? null,
        ...(spawnError === undefined ? {} : { spawnError }),
      };
    });
  }

  /** Sends a signal to the whole process group; does nothing once the child is gone. */
  kill(signal: NodeJS.Signals): void {
    if (this.#ended || this.pid === undefined) return;
    try {
      process.kill(-this.pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }

  /** SIGTERM, then SIGKILL to the group after `graceMs` milliseconds, five seconds by default. Resolves when the process is gone. */
  async stop(graceMs = TERM_GRACE_MS): Promise<ExitCause> {
    this.kill('SIGTERM');
    const timer = setTimeout(() => this.kill('SIGKILL'), graceMs);
    try {
      return await this.exited;
    } finally {
      clearTimeout(timer);
    }
  }
}

function launch(file: string, args: string[], env: Record<string, string>) {
  return execa(file, args, {
    detached: true,
    stdin: 'pipe',
    stdout: 'ignore',
    stderr: 'pipe',
    buffer: false,
    reject: false,
    env,
    extendEnv: false,
  });
}
