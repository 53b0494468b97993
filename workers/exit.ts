import type { WorkerExitCause } from '../src/contract.js';
import type { ExitCause } from './child.js';

/** The end of a worker's process. */
export interface WorkerExit {
  readonly cause: ExitCause;
  readonly ending: WorkerExitCause;
  /** What we know of why. */
  readonly reason: string;
}

/** Signals a process gets for what it did itself. */
const FAULTS: ReadonlySet<NodeJS.Signals> = new Set<NodeJS.Signals>([
  'SIGSEGV',
  'SIGABRT',
  'SIGBUS',
  'SIGFPE',
  'SIGILL',
  'SIGTRAP',
  'SIGSYS',
]);

/** How llama.cpp exits when somebody asks it to end: in good order, or by 128 and the signal's number at a second try. */
const ASKED_TO_END: ReadonlySet<number> = new Set([0, 130, 143]);

/** Of an end that we did not bring about. */
export function endingOf({ code, signal }: ExitCause): WorkerExitCause {
  if (signal) return FAULTS.has(signal) ? 'crashed' : 'killed';
  return code !== null && ASKED_TO_END.has(code) ? 'killed' : 'crashed';
}

/** We brought it about, and nothing is wrong. */
export function isOurs(ending: WorkerExitCause): boolean {
  return ending === 'shutdown' || ending === 'recycled';
}

/** In a few words, for the log and for who waits. */
export function describeExit(cause: ExitCause): string {
  if (cause.spawnError) return `cannot be run: ${cause.spawnError}`;
  if (cause.survived) return 'still there after SIGKILL';
  return cause.signal ? `ended by ${cause.signal}` : `exit code ${cause.code}`;
}
