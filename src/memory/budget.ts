import type { Amounts } from './amounts.js';
import { total, without } from './amounts.js';
import { assumedMemory, availableMemory } from './machine.js';

/** Main memory, as llama.cpp names the buffers in it. */
export const HOST = 'host';

export interface Capacity {
  /** What all models together may hold. */
  readonly budget: Amounts;
  /** How far they may grow beyond that. */
  readonly margin: Amounts;
}

/** What our models hold at the moment. */
export interface Holdings {
  /** By their own account. */
  readonly held: Amounts;
  /** Main memory that would be available without them, bytes: without mapped files, which the kernel may drop. */
  readonly anonymous: number;
  /** Nothing is being loaded or unloaded, so that what devices have free can be compared with what is held. */
  readonly settled: boolean;
}

export interface Budget {
  capacity(holdings: Holdings): Promise<Capacity>;
  /** What a model takes of this budget. */
  readonly count: (need: Amounts) => Amounts;
}

/** The kind of memory where one number stands for everything. */
const ALL = 'all';

/** The share of a budget that is kept for growth. */
const MARGIN = 0.05;

/** At least this much of the memory that is shared with other programs is kept, bytes. */
const MIN_MARGIN = 256 * 2 ** 20;

/** One number for everything together. */
export class FixedBudget implements Budget {
  readonly #capacity: Capacity;

  constructor(bytes: number) {
    this.#capacity = { budget: { [ALL]: bytes }, margin: { [ALL]: bytes * MARGIN } };
  }

  async capacity(): Promise<Capacity> {
    return this.#capacity;
  }

  readonly count = (need: Amounts): Amounts => ({ [ALL]: total(need) });
}

/** What the machine has: the main memory that is available, and the free memory of each device. */
export class MachineBudget implements Budget {
  readonly #freeOnDevices: () => Promise<Amounts>;
  readonly #available: () => number | undefined;
  /** What models may hold on each device. */
  #devices: Amounts | undefined;

  /** @param freeOnDevices free memory by device, bytes. */
  constructor(freeOnDevices: () => Promise<Amounts> = async () => ({}), available = availableMemory) {
    this.#freeOnDevices = freeOnDevices;
    this.#available = available;
  }

  async capacity({ held, anonymous, settled }: Holdings): Promise<Capacity> {
    if (settled || !this.#devices) {
      const free = await this.#freeOnDevices();
      this.#devices = Object.fromEntries(
        Object.entries(free).map(([device, bytes]) => [device, bytes + (held[device] ?? 0)]),
      );
    }
    const available = this.#available();
    const main = available === undefined ? assumedMemory() : available + anonymous;
    const all = { ...this.#devices, [HOST]: main };
    const margin = Object.fromEntries(
      Object.entries(all).map(([kind, bytes]) => [kind, Math.max(MIN_MARGIN, bytes * MARGIN)]),
    );
    return { budget: without(all, margin), margin };
  }

  readonly count = (need: Amounts): Amounts => need;
}
