import { randomBytes } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { devNull, tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { findSetpriv, guardGroup, withDeathSignal } from './death-signal.js';
import { buildArgs, buildEnv, type Endpoint, type WorkerOptions } from './options.js';
import { StderrTail } from './stderr-tail.js';

/** How a child exited. */
export interface ExitStatus {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Why it could not be started, e.g. `ENOENT`. */
  readonly spawnError?: string;
  /** The process was still running long after SIGKILL: it hangs in the kernel, or runs as another user. */
  readonly survived?: boolean;
}

/** Time between SIGTERM and SIGKILL, milliseconds. */
const TERM_GRACE_MS = 5_000;

/** Max time for the kernel to end a process after SIGKILL, milliseconds; freeing a lot of memory takes seconds. */
const KILL_GRACE_MS = 10_000;

/** Descriptors that starting a child and its guard takes, with some to spare. */
const DESCRIPTORS = 16;

/**
 * One llama.cpp process in its own process group. The group ends with LMServ: a guard kills the group, and `setpriv
 * --pdeathsig` its first process. Its stdin stays open and is never written to, because each line would be a command;
 * on EOF llama-cli spins printing its prompt.
 */
export class LlamaChild {
  readonly pid: number | undefined;
  readonly stderr: StderrTail;
  /** Resolves when the process has exited or could not be started; never rejects. */
  readonly exited: Promise<ExitStatus>;
  /** Resolves when no process is left, which is later if it survived SIGKILL; only then its memory is free. */
  readonly gone: Promise<unknown>;
  /** The address of a llama-server; a llama-cli chooses a port and logs it. */
  readonly listen: Endpoint | undefined;
  #socketFolder: string | undefined;
  #ended = false;
  #giveUp: ((cause: ExitStatus) => void) | undefined;

  /** Never throws: a failure to start is reported as the exit. */
  constructor(options: WorkerOptions, env: NodeJS.ProcessEnv, onLine: (line: string) => void) {
    this.stderr = new StderrTail(onLine);
    try {
      // If descriptors run out during a spawn, Node leaks some and throws where nothing can catch it.
      if (!canOpen(DESCRIPTORS)) throw Object.assign(new Error('no descriptor left'), { code: 'EMFILE' });
      if (options.binary.kind === 'llama-server') this.listen = this.#makeSocket(env.TMPDIR);
      const args = buildArgs(options, this.listen);
      const setpriv = findSetpriv(env.PATH);
      const [file, argv] = setpriv
        ? withDeathSignal(setpriv, options.binary.path, args)
        : [options.binary.path, args];
      const launched = launch(file, argv, buildEnv(env, options, this.listen));
      this.pid = launched.pid;
      this.gone = launched.catch(() => undefined);
      this.exited = this.#follow(launched);
    } catch (error) {
      this.#removeSocket();
      this.gone = this.exited = Promise.resolve({ code: null, signal: null, spawnError: describe(error) });
    }
  }

  /** Sends a signal to the whole process group; does nothing after the exit. */
  kill(signal: NodeJS.Signals): void {
    if (this.#ended || this.pid === undefined) return;
    signalGroup(this.pid, signal);
    if (signal !== 'SIGKILL' || !this.#giveUp) return;
    const giveUp = this.#giveUp;
    this.#giveUp = undefined;
    setTimeout(() => giveUp({ code: null, signal: null, survived: true }), KILL_GRACE_MS).unref();
  }

  /**
   * Sends SIGTERM to the group, and SIGKILL after `graceMs` milliseconds (default: 5 s). Resolves when the process has
   * exited.
   */
  async stop(graceMs = TERM_GRACE_MS): Promise<ExitStatus> {
    this.kill('SIGTERM');
    const timer = setTimeout(() => this.kill('SIGKILL'), graceMs);
    try {
      return await this.exited;
    } finally {
      clearTimeout(timer);
    }
  }

  async #follow(launched: ReturnType<typeof launch>): Promise<ExitStatus> {
    launched.stderr?.setEncoding('utf8').on('data', (chunk: string) => this.stderr.push(chunk));
    launched.stderr?.on('error', () => undefined);
    launched.stdin?.on('error', () => undefined);
    const { pid } = this;
    if (pid === undefined) {
      const { code = 'spawn failed' } = await launched;
      this.#end();
      return { code: null, signal: null, spawnError: code };
    }
    // A script that is killed leaves its own children running.
    launched.once('exit', () => signalGroup(pid, 'SIGKILL'));
    const guard = this.#guard(pid);
    const gone: Promise<ExitStatus> = launched.then((end) => ({
      code: end.exitCode ?? null,
      signal: end.signal ?? null,
    }));
    const survived = new Promise<ExitStatus>((resolve) => (this.#giveUp = resolve));
    // A process that survives SIGKILL keeps its guard.
    void gone.then(guard.end);
    const cause = await Promise.race([gone, survived]);
    this.#end();
    return guard.failure === undefined ? cause : { ...cause, spawnError: guard.failure };
  }

  #makeSocket(folder = tmpdir()): Endpoint {
    try {
      // A new folder with mode 0700 for each child, so that the socket of a dead child is never in the way.
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

  /** Kills a child that cannot be guarded. */
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
      // A leftover folder does no harm: the next child gets another one.
    }
  }
}

/** Whether this process can open `count` more files. */
function canOpen(count: number): boolean {
  const opened: number[] = [];
  try {
    while (opened.length < count) opened.push(openSync(devNull, 'r'));
    return true;
  } catch {
    return false;
  } finally {
    for (const descriptor of opened) closeSync(descriptor);
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

/** The working directory, or `/` if it was removed, for example by an update; execa would throw. */
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
    // The process has exited, or runs as another user and keeps running.
  }
}

/** The system's error code, because messages quote paths and arguments. */
function describe(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? (error as Error).name;
}
