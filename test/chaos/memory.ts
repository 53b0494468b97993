import { anonymousMiB } from './processes.js';

/** What the server took at least in an early and a late part of the load, MiB. */
export interface MemoryFloors {
  readonly early: number;
  readonly late: number;
}

/** Parts of the load; before the first the heap is still finding its size. */
const EARLY = [0.1, 0.4] as const;
const LATE = [0.7, 1] as const;

/**
 * Watches a process' memory. What a collected heap takes goes up and down by tens of MiB, at rest as well as under load,
 * so one look says nothing: it is the lowest points that a leak raises.
 */
export class MemoryWatch {
  readonly #samples: { readonly share: number; readonly memory: number }[] = [];

  /** `share` of the load is done. */
  look(pid: number, share: number): void {
    const memory = anonymousMiB(pid);
    if (memory !== undefined) this.add(share, memory);
  }

  add(share: number, memory: number): void {
    this.#samples.push({ share, memory });
  }

  /** undefined where the load did not go so far. */
  get floors(): MemoryFloors | undefined {
    const early = this.#lowest(EARLY);
    const late = this.#lowest(LATE);
    return Number.isFinite(early) && Number.isFinite(late) ? { early, late } : undefined;
  }

  #lowest([from, to]: readonly [number, number]): number {
    const part = this.#samples.filter(({ share }) => share >= from && share <= to);
    return Math.min(...part.map(({ memory }) => memory));
  }
}
