import type { Ending } from '../../workers/worker.js';

/** Told what happens in a pool, for the metrics. `model` is the pool's name; times are milliseconds. */
export interface PoolObserver {
  workerReady(event: { model: string; ms: number }): void;
  workerExited(event: { model: string; cause: Ending }): void;
  /** A request has got a slot, or will not get one. */
  waited(event: { model: string; ms: number; outcome: 'leased' | 'timeout' | 'refused' | 'left' }): void;
  /** A request without a token is run again on another worker. */
  retried(event: { model: string }): void;
  /** A reply that has begun goes on with another worker. */
  resumed(event: { model: string }): void;
}
