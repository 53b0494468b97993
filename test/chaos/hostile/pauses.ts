/** How long a process could not run its timers, measured inside it, and how much of that it caused itself. */
import { ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

/** A time in which a timer that was due did not run. Times are milliseconds of a clock that all processes share. */
export interface Pause {
  readonly from: number;
  readonly to: number;
  /** How long the thread was ready while no core was free, milliseconds. */
  readonly waited: number;
  /** How long it ran. */
  readonly ran: number;
  /** How long it waited for a child or one of its own threads that had no core, milliseconds. */
  readonly starved: number;
}

/** A pause of the server that is judged, milliseconds. */
export interface JudgedPause extends Pause {
  /** Without the scheduling noise. */
  readonly net: number;
}

const TICK_MS = 10;

/** Shorter pauses are not judged. */
const WORTH_MS = 40;

/** Pauses below the limit are still reported this often, in ticks, as a sign of life. */
const BEAT = 50;

/** Milliseconds of the system's monotonic clock. */
export function sharedNow(): number {
  return Number(process.hrtime.bigint() / 1_000n) / 1_000;
}

/** Sleep in `ChildProcess.spawn` since the last tick, milliseconds. */
let spawning = 0;

/**
 * Measures this process from now on. If all cores are busy, its thread also sleeps for lack of one: starting a process
 * returns once that process has run, and the garbage collector waits for its own threads. The kernel counts that wait as
 * theirs.
 */
export function watchPauses(tell: (pause: Pause) => void): void {
  followSpawns();
  const helpers = threadsBesides(process.pid);
  let last = sharedNow();
  let thread = threadMs();
  let waits = helpers.map((id) => threadMs(id).waited);
  let ticks = 0;
  const tick = () => {
    const [to, now, nowWaits] = [sharedNow(), threadMs(), helpers.map((id) => threadMs(id).waited)];
    const [ran, waited] = [now.ran - thread.ran, now.waited - thread.waited];
    const longestWait = Math.max(0, ...nowWaits.map((wait, index) => wait - waits[index]!));
    const starved = Math.max(0, Math.min(to - last - ran - waited, spawning + longestWait));
    const from = last + TICK_MS;
    if (to - from > WORTH_MS || ticks++ % BEAT === 0) tell({ from, to, waited, ran, starved });
    [last, thread, waits, spawning] = [to, now, nowWaits, 0];
  };
  setInterval(tick, TICK_MS).unref();
}

function followSpawns(): void {
  const prototype = ChildProcess.prototype as unknown as { spawn: (options: unknown) => unknown };
  const { spawn } = prototype;
  prototype.spawn = function (options) {
    const [began, before] = [sharedNow(), threadMs()];
    try {
      return spawn.call(this, options);
    } finally {
      const after = threadMs();
      spawning += Math.max(
        0,
        sharedNow() - began - (after.ran - before.ran) - (after.waited - before.waited),
      );
    }
  };
}

/** The threads at Node's start: V8's, which collect garbage. */
function threadsBesides(main: number): number[] {
  try {
    return readdirSync('/proc/self/task')
      .map(Number)
      .filter((id) => id !== main);
  } catch {
    return [];
  }
}

/** Sends a pause to the parent process, if that still runs. */
export function report(pause: Pause): void {
  if (process.connected) process.send!(pause, undefined, undefined, () => undefined);
}

/**
 * Removes scheduling noise from the server's pauses: the time in which its thread, or what it waited for, had no core, or
 * the pauses of an idle process in the same window, whichever is longer. Time that the thread ran always counts. The
 * longest comes first. Pure.
 */
export function judgePauses(server: readonly Pause[], control: readonly Pause[]): JudgedPause[] {
  return server
    .filter(({ from, to }) => to - from > WORTH_MS)
    .map((pause) => {
      const noise = control.reduce((sum, other) => sum + overlap(pause, other), 0);
      const own = pause.waited + pause.starved;
      const gross = pause.to - pause.from;
      return { ...pause, net: Math.max(gross - Math.max(noise, own), Math.min(gross, pause.ran)) };
    })
    .sort((a, b) => b.net - a.net);
}

function overlap(a: Pause, b: Pause): number {
  return Math.max(0, Math.min(a.to, b.to) - Math.max(a.from, b.from));
}

/** How long a thread, or a process' main thread, has run and has waited for a core, milliseconds; 0 if unknown. */
export function threadMs(pid: number | 'self' = 'self'): { readonly ran: number; readonly waited: number } {
  const [ran = 0, waited = 0] = schedstat(pid)
    .split(' ')
    .map((nanoseconds) => Number(nanoseconds) / 1e6);
  return { ran, waited };
}

function schedstat(pid: number | 'self'): string {
  try {
    return readFileSync(`/proc/${pid}/schedstat`, 'utf8');
  } catch {
    return '';
  }
}
