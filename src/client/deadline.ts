import { TimeoutError } from './errors.js';

/**
 * The caller's signal and the time-out in one signal. The clock runs only while `run` waits for the server, so a
 * caller that takes its time between two pieces of a stream is not cut off.
 */
export class Deadline {
  readonly #controller = new AbortController();
  readonly #caller: AbortSignal | undefined;
  readonly #ms: number;
  #end: ReturnType<typeof setTimeout> | undefined;

  /** `ms` is how long one `run` may take, milliseconds. */
  constructor(ms: number, caller: AbortSignal | undefined) {
    this.#ms = ms;
    this.#caller = caller;
    if (caller?.aborted) this.#forward();
    else caller?.addEventListener('abort', this.#forward);
  }

  readonly #forward = (): void => this.#controller.abort(this.#caller?.reason);

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Ends everything after `ms` milliseconds at the latest, whatever still comes. */
  endWithin(ms: number): void {
    this.#end ??= setTimeout(() => this.#controller.abort(timeoutError(ms)), ms);
  }

  /**
   * Runs something that obeys `signal`.
   *
   * @throws TimeoutError after the time; the caller's reason after its abort; else what the operation throws.
   */
  async run<T>(operation: () => Promise<T>): Promise<T> {
    this.signal.throwIfAborted();
    const timer = setTimeout(() => this.#controller.abort(timeoutError(this.#ms)), this.#ms);
    try {
      return await operation();
    } catch (thrown) {
      throw this.signal.aborted ? this.signal.reason : thrown;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Ends what still runs, closing its connection, and lets go of the caller's signal. */
  close(): void {
    this.#caller?.removeEventListener('abort', this.#forward);
    clearTimeout(this.#end);
    this.#controller.abort();
  }
}

function timeoutError(ms: number): TimeoutError {
  return new TimeoutError(`no answer within ${ms / 1000} s (LLM_TIMEOUT_SECS)`, { code: 'timeout' });
}
