import { readMemory } from '../observe/process-memory.js';
import type { Worker } from '../../workers/worker.js';

/** What the processes of a pool hold, bytes by kind of memory. */
export interface PoolMemory {
  /** As llama.cpp reports it; empty if it does not. */
  readonly reported: Readonly<Record<string, number>>;
  /** What the system sees of it: at least this is taken. */
  readonly resident: Readonly<Record<string, number>>;
  /** The part of that beyond files. */
  readonly anonymous: number;
}

export function memoryOf(_workers: readonly Worker[], pids: readonly number[]): PoolMemory {
  const anonymous = pids.reduce((bytes, pid) => bytes + (readMemory(pid)?.anonymous ?? 0), 0);
  return { reported: {}, resident: { host: anonymous }, anonymous };
}
