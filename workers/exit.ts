import type { WorkerExitCause } from '../src/contract.js';
import type { ExitStatus } from './child.js';

/** The end of a worker's process. */
export interface WorkerExit {
  readonly status: ExitStatus;
  readonly cause: WorkerExitCause;
  /** The reason in a few words. */
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
export function classifyExit({ code, signal }: ExitStatus): WorkerExitCause {
  if (signal) return FAULTS.has(signal) ? 'crashed' : 'killed';
  return code !== null && TERMINATION_CODES.has(code) ? 'killed' : 'crashed';
}

/** Whether LMServ ended a healthy worker. */
export function isIntended(cause: WorkerExitCause): boolean {
  return cause === 'shutdown' || cause === 'recycled';
}

/** Describes an exit in a few words, for the log and for waiting clients. */
export function describeExit(status: ExitStatus): string {
  if (status.spawnError) return `cannot be run: ${status.spawnError}`;
  if (status.survived) return 'still there after SIGKILL';
  return status.signal ? `ended by ${status.signal}` : `exit code ${status.code}`;
}
