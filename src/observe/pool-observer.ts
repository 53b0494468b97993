/**
 * Why a worker's process has ended: by our will, because it made no progress, by a signal that was not ours (also the
 * kernel's when memory is short), by itself, or before it ever took a request.
 */
export type WorkerExitCause = 'shutdown' | 'recycled' | 'hung' | 'killed' | 'crashed' | 'start_failed';

/** How a wait for a slot ended: with a slot, too late, refused because there was no room or no worker, or given up. */
export type WaitOutcome = 'leased' | 'timeout' | 'refused' | 'left';

/** Told what happens in the pools; must return at once and never throw. */
export interface PoolObserver {
  /** A worker takes requests, `ms` milliseconds after it was spawned. */
  workerReady(event: { readonly model: string; readonly ms: number }): void;
  workerExited(event: { readonly model: string; readonly cause: WorkerExitCause }): void;
  /** A reply that had begun goes on with another worker. */
  resumed(event: { readonly model: string }): void;
  /** A request without a token so far is run again from the start. */
  retried(event: { readonly model: string }): void;
  /** A request no longer waits for a slot, after `ms` milliseconds; 0 where one was free. */
  waited(event: { readonly model: string; readonly ms: number; readonly outcome: WaitOutcome }): void;
}
