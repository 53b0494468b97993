import type { WorkerExit } from './exit.js';

/** Why a worker failed a request or never became ready. */
export class WorkerFailure extends Error {
  override readonly name = 'WorkerFailure';
  constructor(
    readonly kind: 'died' | 'hung' | 'start_failed',
    message: string,
    /** The last part of the child's stderr since the request began. */
    readonly stderr: string,
    /** How the process ended; undefined if it still runs, or had ended before the request. */
    readonly exit?: WorkerExit,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }

  /** The process ended before it received the request, which therefore cannot be the cause. */
  get unreached(): boolean {
    const code = ((this.cause as Error | undefined)?.cause as NodeJS.ErrnoException | undefined)?.code;
    return this.cause === undefined || code === 'ECONNREFUSED' || code === 'ENOENT';
  }
}
