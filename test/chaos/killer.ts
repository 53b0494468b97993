import { stillLlama } from './processes.js';
import type { Random } from './random.js';
import type { LoggedWorker, ServerLog } from './server-log.js';

export interface KillerOptions {
  readonly log: ServerLog;
  readonly random: Random;
  /** Milliseconds between two; 0 is never. */
  readonly everyMs: number;
  /** The share that gets SIGSTOP in the place of SIGKILL. */
  readonly stopRate: number;
}

/** Kills or stops a random worker again and again, and measures how soon the server noticed. */
export class Killer {
  /** From each SIGKILL to the server's log line, milliseconds; the line's own time, so that only the server is judged. */
  readonly noticedMs: number[] = [];
  /** From each SIGSTOP to the end of the worker, milliseconds. */
  readonly hangMs: number[] = [];
  kills = 0;
  stops = 0;
  readonly #options: KillerOptions;
  readonly #stopped = new Set<number>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: KillerOptions) {
    this.#options = options;
  }

  start(): void {
    const { everyMs } = this.#options;
    if (everyMs > 0) this.#timer = setInterval(() => this.#strike(), everyMs);
  }

  /** Strikes no more, and lets those go on that were stopped while they had nothing to do: no deadline runs then. */
  stop(): void {
    clearInterval(this.#timer);
    for (const pid of this.#stopped) send(pid, 'SIGCONT');
    this.#stopped.clear();
  }

  /** Draws the same numbers each time, whoever lives. */
  #strike(): void {
    const { log, random, stopRate } = this.#options;
    const stop = random.chance(stopRate);
    const share = random.next();
    const living = log.workers.filter(({ pid, ready }) => !this.#stopped.has(pid) && (ready || !stop));
    const worker = living[Math.floor(share * living.length)];
    if (worker === undefined) return;
    if (stop) this.#stop(worker);
    else this.#kill(worker);
  }

  #kill({ pid }: LoggedWorker): void {
    const at = Date.now();
    if (!send(pid, 'SIGKILL')) return;
    this.kills += 1;
    this.#options.log.onExit(pid, (noticed) => this.noticedMs.push(noticed - at));
  }

  #stop({ pid }: LoggedWorker): void {
    const at = Date.now();
    if (!send(pid, 'SIGSTOP')) return;
    this.stops += 1;
    this.#stopped.add(pid);
    this.#options.log.onExit(pid, (noticed) => {
      if (this.#stopped.delete(pid)) this.hangMs.push(noticed - at);
    });
  }
}

/** false when the process is gone: its number may be another's by now. */
function send(pid: number, signal: NodeJS.Signals): boolean {
  return stillLlama([pid]).length === 1 && process.kill(pid, signal);
}
