import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { BenchError } from '../errors.js';
import type { LoadJob, LoadResult } from './job.js';

/** Puts load on a server from a process of its own, so that nobody else's work delays its clock. */
export class LoadClient {
  readonly #process: ChildProcess;

  constructor() {
    this.#process = fork(fileURLToPath(new URL('main.js', import.meta.url)), { serialization: 'advanced' });
  }

  get pid(): number {
    return this.#process.pid!;
  }

  /**
   * Runs one job at a time.
   *
   * @throws the signal's reason when it aborts; BenchError when the client's process ends.
   */
  async run(job: LoadJob, signal: AbortSignal): Promise<LoadResult> {
    signal.throwIfAborted();
    const over = new AbortController();
    const ended = once(this.#process, 'exit', { signal: over.signal }).then(() => {
      throw new BenchError('the load client ended');
    });
    const result = once(this.#process, 'message', { signal: AbortSignal.any([signal, over.signal]) });
    try {
      this.#process.send(job);
      return ((await Promise.race([result, ended])) as [LoadResult])[0];
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    } finally {
      over.abort();
      await Promise.allSettled([result, ended]);
    }
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const exit = once(this.#process, 'exit');
    this.#process.kill('SIGKILL');
    await exit;
  }
}
