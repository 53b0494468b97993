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
  /** Why it could not be started, e.g. `ENOENT`. */
  readonly spawnError?: string;
  /** It was still there long after SIGKILL: it hangs in the kernel, or runs as another user. */
  readonly survived?: boolean;
}

/** Time a child has to obey SIGTERM before it gets SIGKILL, milliseconds. */
const TERM_GRACE_MS = 5_000;

/** Time the kernel has to end a process after SIGKILL, milliseconds; freeing much memory takes seconds. */
const KILL_GRACE_MS = 10_000;

/** Descriptors that a child and its guard take while they are started, and some to spare. */
const DESCRIPTORS = 16;

/**
 * One llama.cpp process in a process group of its own. The group dies with us: a guard kills it when we are gone, and
 * `setpriv --pdeathsig` its first process. Its stdin is held open and never written to, because there each line would
 * be a command; at its end llama-cli would print its prompt for ever.
 */
export class LlamaChild {
  readonly pid: number | undefined;
  readonly stderr: StderrTail;
  /** Resolves when the process is gone, or could not be started; never rejects. */
  readonly exited: Promise<ExitCause>;
  /** Where a llama-server was told to listen; a llama-cli picks a port and logs it. */
  readonly listen: Endpoint | undefined;
  #socketFolder: string | undefined;
  #ended = false;
  #giveUp: ((cause: ExitCause) => void) | undefined;

  /** Never throws: what keeps the process from starting is its exit. */
  constructor(options: WorkerOptions, env: NodeJS.ProcessEnv, onLine: (line: string) => void) {
    this.stderr = new StderrTail(onLine);
    try {
      // Where descriptors run out in the middle of it, Node's spawn loses some for good and fails where nobody can catch it.
      if (!canOpen(DESCRIPTORS)) throw Object.assign(new Error('no descriptor left'), { code: 'EMFILE' });
      if (options.binary.kind === 'llama-server') this.listen = this.#makeSocket(env.TMPDIR);
      const args = buildArgs(options, this.listen);
      const setpriv = findSetpriv(env.PATH);
      const [file, argv] = setpriv
        ? withDeathSignal(setpriv, options.binary.path, args)
        : [options.binary.path, args];
      const launched = launch(file, argv, buildEnv(env, options, this.listen));
      this.pid = launched.pid;
      this.exited = this.#follow(launched);
    } catch (error) {
      this.#removeSocket();
      this.exited = Promise.resolve({ code: null, signal: null, spawnError: describe(error) });
    }
  }

  /** Sends a signal to the whole process group; does nothing once it is gone. */
  kill(signal: NodeJS.Signals): void {
    if (this.#ended || this.pid === undefined) return;
    signalGroup(this.pid, signal);
    if (signal !== 'SIGKILL' || !this.#giveUp) return;
    const giveUp = this.#giveUp;
    this.#giveUp = undefined;
    setTimeout(() => giveUp({ code: null, signal: null, survived: true }), KILL_GRACE_MS).unref();
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

  async #follow(launched: ReturnType<typeof launch>): Promise<ExitCause> {
    launched.stderr?.setEncoding('utf8').on('data', (chunk: string) => this.stderr.push(chunk));
    launched.stderr?.on('error', () => undefined);
    launched.stdin?.on('error', () => undefined);
    const { pid } = this;
    if (pid === undefined) {
      const { code = 'spawn failed' } = await launched;
      this.#end();
      return { code: null, signal: null, spawnError: code };
    }
    // A script that is killed leaves what it has started.
    launched.once('exit', () => signalGroup(pid, 'SIGKILL'));
    const guard = this.#guard(pid);
    const gone: Promise<ExitCause> = launched.then((end) => ({
      code: end.exitCode ?? null,
      signal: end.signal ?? null,
    }));
    const survived = new Promise<ExitCause>((resolve) => (this.#giveUp = resolve));
    // One that survives SIGKILL keeps its guard.
    void gone.then(guard.end);
    const cause = await Promise.race([gone, survived]);
    this.#end();
    return guard.failure === undefined ? cause : { ...cause, spawnError: guard.failure };
  }

  #makeSocket(folder = tmpdir()): Endpoint {
    try {
      // A fresh folder, 0700, for each child: a stale socket of a dead one is never in the way.
      this.#socketFolder = mkdtempSync(join(folder, 'lmserv-'));
    } catch (cause) {
      throw Object.assign(new Error('no socket', { cause }), {
        code: `no temporary folder (${describe(cause)})`,
      });
    }
    return {
      socketPath: join(this.#socketFolder, 'llama.sock'),
      apiKey: randomBytes(32).toString('base64url'),
    };
  }

  /** A child that was started is killed when it cannot be guarded. */
  #guard(pid: number): { readonly end: () => void; readonly failure?: string } {
    try {
      return { end: guardGroup(pid) };
    } catch (error) {
      this.kill('SIGKILL');
      return { end: () => undefined, failure: `no guard (${describe(error)})` };
    }
  }

  #end(): void {
    this.#ended = true;
    this.#removeSocket();
  }

  #removeSocket(): void {
    if (this.#socketFolder === undefined) return;
    try {
      rmSync(this.#socketFolder, { recursive: true, force: true });
    } catch {
      // A folder that is left is no reason to fail: the next child gets another one.
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
    cwd: existingFolder(),
    env,
    extendEnv: false,
  });
}

/** Ours, or `/` once ours has been removed, as by an update that replaces it: execa would throw. */
function existingFolder(): string {
  try {
    return process.cwd();
  } catch {
    return '/';
  }
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // It is gone, or runs as another user, which shows in that it goes on.
  }
}

/** The system's code; messages quote paths and arguments. */
function describe(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? (error as Error).name;
}
