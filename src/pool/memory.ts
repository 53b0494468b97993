import type { DeviceMemory } from '../contract.js';
import { readMemory } from '../observe/process-memory.js';

/** What the processes of a pool hold, bytes by kind of memory: `host` or a device. */
export interface PoolMemory {
  /** As llama.cpp reports it; undefined until every worker has said so. */
  readonly reported: Readonly<Record<string, number>> | undefined;
  /** At least this is taken, as the system sees it. */
  readonly resident: Readonly<Record<string, number>>;
  /** The part of that beyond files. */
  readonly anonymous: number;
}

/** A worker, as far as it is read here. */
interface Reporter {
  readonly memory: readonly DeviceMemory[];
}

/**
 * @param count number of workers that the pool keeps.
 * @param pids of all processes, also of those that only linger.
 */
export function memoryOf(workers: readonly Reporter[], count: number, pids: readonly number[]): PoolMemory {
  const complete = workers.length === count && workers.every(({ memory }) => memory.length > 0);
  const anonymous = pids.reduce((bytes, pid) => bytes + (readMemory(pid)?.anonymous ?? 0), 0);
  const mapped = Math.max(0, ...workers.flatMap(({ memory }) => memory.map((part) => part.mapped)));
  return {
    reported: complete ? sumUp(workers) : undefined,
    resident: { host: anonymous + mapped },
    anonymous,
  };
}

/** Workers share what is mapped from the file. */
function sumUp(workers: readonly Reporter[]): Record<string, number> {
  const sums: Record<string, number> = {};
  const shared: Record<string, number> = {};
  for (const { memory } of workers)
    for (const { device, model, mapped, context, compute } of memory) {
      sums[device] = (sums[device] ?? 0) + model - mapped + context + compute;
      shared[device] = Math.max(shared[device] ?? 0, mapped);
    }
  for (const [device, bytes] of Object.entries(shared)) sums[device]! += bytes;
  return sums;
}
