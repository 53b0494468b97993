import type { Adaptation, UnloadReason, WaitOutcome, WorkerExitCause } from '../contract.js';

/** Receives what happens in the pools. Its methods must return at once and never throw. */
export interface PoolObserver {
  /** A worker takes requests, `ms` milliseconds after it was spawned. */
  workerReady(event: { readonly model: string; readonly ms: number }): void;
  /** A model came into memory, `ms` milliseconds after its load began. */
  modelLoaded(event: { readonly model: string; readonly ms: number }): void;
  modelUnloaded(event: { readonly model: string; readonly reason: UnloadReason }): void;
  workerExited(event: { readonly model: string; readonly cause: WorkerExitCause }): void;
  /** Another worker resumes a reply that had begun. */
  resumed(event: { readonly model: string }): void;
  /** A request that has no token yet is run again from the start. */
  retried(event: { readonly model: string }): void;
  /** A conversation was changed in this way to fit the model's chat template. */
  adapted(event: { readonly model: string; readonly kind: Adaptation }): void;
  /** The model slipped in the arguments of a call; `repaired`: they are JSON in the end. */
  callRepaired(event: { readonly model: string; readonly repaired: boolean }): void;
  /** A request no longer waits for a slot, after `ms` milliseconds; 0 where one was free. */
  waited(event: { readonly model: string; readonly ms: number; readonly outcome: WaitOutcome }): void;
}
