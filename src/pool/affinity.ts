import { BLOCK, type PrefixKey } from './prefix.js';

/** What one more request on a worker costs those it is decoded with, as a prefill of that many characters. */
const NEIGHBOUR_COST = 1024;

/** A worker that could take a request now. */
export interface Candidate {
  readonly id: string;
  /** Its slots in use. */
  readonly leased: number;
}

/**
 * Knows which worker was last given which beginnings, so that the next turn of a conversation goes where its prefix is
 * cached. Pure, and a guess: only the child knows what its cache still holds, and tells it as `cached_tokens`.
 */
export class Affinity {
  /** Worker → hashes of the blocks it has seen, the latest last. */
  readonly #seen = new Map<string, Set<number>>();
  /** Worker → number of the request it was last given. */
  readonly #lastUse = new Map<string, number>();
  #uses = 0;

  /** @param capacity blocks that a worker's caches are taken to hold. */
  constructor(private readonly capacity: number) {}

  /** Characters of a prompt's beginning that a worker is expected to hold. */
  expected(worker: string, key: PrefixKey): number {
    const seen = this.#seen.get(worker);
    if (!seen) return 0;
    let blocks = 0;
    while (blocks < key.length && seen.has(key[blocks]!)) blocks += 1;
    return blocks * BLOCK;
  }

  /**
   * The worker for a request: the one whose cached prefix saves most, less what its neighbours there would lose; among
   * equals the one with fewest requests, then the one unused for longest, whose caches are missed least.
   */
  choose<C extends Candidate>(candidates: Iterable<C>, key: PrefixKey): C | undefined {
    let best: C | undefined;
    let bestScore = -Infinity;
    for (const candidate of candidates) {
      const score = this.expected(candidate.id, key) - candidate.leased * NEIGHBOUR_COST;
      const better = score === bestScore && best !== undefined && this.#isIdler(candidate, best);
      if (score > bestScore || better) {
        best = candidate;
        bestScore = score;
      }
    }
    return best;
  }

  /** A worker has been given a prompt, or has said a reply after it. */
  note(worker: string, key: PrefixKey): void {
    this.#lastUse.set(worker, (this.#uses += 1));
    const seen = this.#seen.get(worker) ?? new Set<number>();
    this.#seen.set(worker, seen);
    for (const hash of key) {
      seen.delete(hash);
      seen.add(hash);
    }
    for (const hash of seen) {
      if (seen.size <= this.capacity) break;
      seen.delete(hash);
    }
  }

  /** A worker is gone, and its caches with it. */
  forget(worker: string): void {
    this.#seen.delete(worker);
    this.#lastUse.delete(worker);
  }

  #isIdler(a: Candidate, b: Candidate): boolean {
    if (a.leased !== b.leased) return a.leased < b.leased;
    return (this.#lastUse.get(a.id) ?? 0) < (this.#lastUse.get(b.id) ?? 0);
  }
}

/** Characters a token stands for, roughly, in languages written with spaces. */
const CHARACTERS_PER_TOKEN = 4;

/** Blocks one worker's slots hold, and its prompt cache again as much as they do; at most 65,536. */
export function cacheBlocks(slots: number, ctxSize: number, promptCache: boolean): number {
  const inSlots = Math.ceil((slots * ctxSize * CHARACTERS_PER_TOKEN) / BLOCK);
  return Math.min(65_536, promptCache ? inSlots * 4 : inSlots);
}
