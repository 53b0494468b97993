import { commonBlocks, type PrefixKey } from '../pool/prefix.js';

/** What a slot of a worker holds, as far as that is known. */
interface Slot {
  readonly id: number;
  busy: boolean;
  /** Number of its last use; 0 is never. */
  lastUse: number;
  /** A guess, which only serves to choose. */
  prefix: PrefixKey;
  /** Whose conversation it holds, where that is certain. */
  owner: string | undefined;
}

/** A conversation that is certainly in a slot. */
export interface HeldSlot {
  readonly id: number;
  readonly owner: string;
  readonly prefix: PrefixKey;
}

/** Part of a prompt that a slot must have for llama.cpp to choose it; this table chooses alike. */
const SIMILAR = 0.1;

/**
 * The slots of one worker: which of them a request takes, and whose conversation each holds. Pure.
 *
 * A slot holds what was evaluated last in it, so it belongs to whoever's request was. While a request runs, and after one
 * that may not have been evaluated, it belongs to nobody.
 */
export class SlotTable {
  readonly #slots: readonly Slot[];
  #uses = 0;

  constructor(slots: number) {
    this.#slots = Array.from({ length: slots }, (_, id) => ({
      id,
      busy: false,
      lastUse: 0,
      prefix: [],
      owner: undefined,
    }));
  }

  /**
   * Takes a free slot for a prompt: the one that has most of it, otherwise the least recently used one.
   *
   * @param elsewhere blocks of it that can be had otherwise; a slot that has no more than that is not worth losing.
   */
  take(prefix: PrefixKey, elsewhere: number): { readonly id: number; readonly blocks: number } | undefined {
    const free = this.#slots.filter(({ busy }) => !busy);
    const found = free.map((slot) => ({ slot, blocks: commonBlocks(slot.prefix, prefix) }));
    const similar = found.filter(({ blocks }) => blocks > elsewhere && blocks > prefix.length * SIMILAR);
    const best = similar.length > 0 ? similar.reduce((a, b) => (b.blocks > a.blocks ? b : a)) : undefined;
    const chosen =
      best?.slot ?? (free.length > 0 ? free.reduce((a, b) => (b.lastUse < a.lastUse ? b : a)) : undefined);
    if (!chosen) return undefined;
    chosen.busy = true;
    chosen.owner = undefined;
    chosen.lastUse = this.#uses += 1;
    return { id: chosen.id, blocks: best?.blocks ?? 0 };
  }

  /** Gives a slot back with the conversation that was certainly evaluated in it, if any. */
  release(id: number, held?: Omit<HeldSlot, 'id'>): void {
    const slot = this.#slots[id]!;
    slot.busy = false;
    if (!held) return;
    slot.owner = held.owner;
    slot.prefix = held.prefix;
  }

  /** The conversations in free slots, the last used first. */
  held(): HeldSlot[] {
    return this.#slots
      .filter((slot) => !slot.busy && slot.owner !== undefined)
      .sort((a, b) => b.lastUse - a.lastUse)
      .map(({ id, owner, prefix }) => ({ id, owner: owner!, prefix }));
  }
}
