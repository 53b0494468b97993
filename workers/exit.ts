import type { WorkerExitCause } from '../src/contract.js';
import type { ExitCause } from './child.js';

/** The end of a worker's process. */
export interface WorkerExit {
  readonly cause: ExitCause;
  readonly ending: WorkerExitCause;
  /** The known reason, in a few words. */
  readonly reason: string;
}

/** Signals that a process causes itself. */
const FAULTS: ReadonlySet<NodeJS.Signals> = new Set<NodeJS.Signals>([
  'SIGSEGV',
  'SIGABRT',
  'SIGBUS',
  'SIGFPE',
  'SIGILL',
  'SIGTRAP',
  'SIGSYS',
]);

/** llama.cpp's exit codes after SIGINT or SIGTERM: 0, or 128 plus the signal's number after a second one. */
const TERMINATION_CODES: ReadonlySet<number> = new Set([0, 130, 143]);

/** Classifies an exit that LMServ did not cause. */
export function endingOf({ code, signal }: ExitCause): WorkerExitCause {
  if (signal) return FAULTS.has(signal) ? 'crashed' : 'killed';
  return code !== null && TERMINATION_CODES.has(code) ? 'killed' : 'crashed';
}

/** Whether LMServ ended a healthy worker. */
export function isOurs(ending: WorkerExitCause): boolean {
  return ending === 'shutdown' || ending === 'recycled';
}

/** Describes an exit in a few words, for the log and for waiting clients. */
export function describeExit(cause: ExitCause): string {
  if (cause.spawnError) return `cannot be run: ${cause.spawnError}`;
  if (cause.survived) return 'still there after SIGKILL';
  return cause.signal ? `ended by ${cause.signal}` : `exit code ${cause.code}`;
}
