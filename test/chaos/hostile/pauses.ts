/** How long a process could not run its timers, measured inside it, and what of that is its own doing. */
import { readFileSync } from 'node:fs';

/** A time in which a timer that was due did not run. Times are milliseconds of a clock that all processes share. */
export interface Pause {
  readonly from: number;
  readonly to: number;
  /** For so much of it the thread was ready and no core was free, milliseconds. */
  readonly waited: number;
  /** And for so much it ran. */
  readonly ran: number;
}

/** A pause of the server that is judged, milliseconds. */
export interface JudgedPause extends Pause {
  /** Without the scheduling noise. */
  readonly net: number;
}

const TICK_MS = 10;

/** What is shorter is not judged. */
const WORTH_MS = 40;

/** Shorter ones are told so often all the same, as a sign of life, ticks. */
const BEAT = 50;

/** Milliseconds of the system's monotonic clock. */
export function sharedNow(): number {
  return Number(process.hrtime.bigint() / 1_000n) / 1_000;
}

/** Measures this process from now on. */
export function watchPauses(tell: (pause: Pause) => void): void {
  let due = sharedNow() + TICK_MS;
  let thread = threadMs();
  let ticks = 0;
  const tick = () => {
    const before = thread;
    thread = threadMs();
    const to = sharedNow();
    const [ran, waited] = [thread.ran - before.ran, thread.waited - before.waited];
    if (to - due > WORTH_MS || ticks++ % BEAT === 0) tell({ from: due, to, waited, ran });
    due = to + TICK_MS;
  };
  setInterval(tick, TICK_MS).unref();
}

/** Tells the process that started this one; one that is gone is not told. */
export function report(pause: Pause): void {
  if (process.connected) process.send!(pause, undefined, undefined, () => undefined);
}

/**
 * Takes the noise out of the server's pauses: the time its thread waited for a core, or the pauses of a process that does
 * nothing in the same window, whichever is longer. The longest first. Pure.
 */
export function judgePauses(server: readonly Pause[], control: readonly Pause[]): JudgedPause[] {
  return server
    .filter(({ from, to }) => to - from > WORTH_MS)
    .map((pause) => {
      const noise = control.reduce((sum, other) => sum + overlap(pause, other), 0);
      return { ...pause, net: Math.max(0, pause.to - pause.from - Math.max(noise, pause.waited)) };
    })
    .sort((a, b) => b.net - a.net);
}

function overlap(a: Pause, b: Pause): number {
  return Math.max(0, Math.min(a.to, b.to) - Math.max(a.from, b.from));
}

/** How long the main thread of a process has run and waited for a core in all, milliseconds; 0 where the kernel does not say. */
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
