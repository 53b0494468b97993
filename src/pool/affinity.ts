import { BLOCK, type PrefixKey } from './prefix.js';

/** Penalty per busy slot, in characters of prefill: requests on one worker slow each other down. */
const NEIGHBOUR_COST = 1024;

/** Stands for the empty text, which every prompt begins with. */
const START = -1;

/** A worker with a free slot. */
export interface Candidate {
  readonly id: string;
  /** Number of its slots in use. */
  readonly leased: number;
}

/**
 * Records the prefixes sent to each worker, so that the next turn of a conversation goes to the worker that has its
 * prefix cached. Pure, and a guess: only llama.cpp knows what its cache still holds, and reports it as `cached_tokens`.
 */
export class Affinity {
  readonly #capacity: number;
  /** Worker id → hashes of the blocks it was sent, the latest last, each with that of the block it was last sent after it. */
  readonly #seen = new Map<string, Map<number, number | undefined>>();
  /** Worker id → number of the last request sent to it. */
  readonly #lastUse = new Map<string, number>();
  #uses = 0;

  /** @param capacity number of blocks that a worker's caches are assumed to hold. */
  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** Number of leading characters of a prompt that a worker is expected to have cached. */
  expected(worker: string, key: PrefixKey): number {
    const seen = this.#seen.get(worker);
    if (!seen) return 0;
    let blocks = 0;
    while (blocks < key.length && seen.has(key[blocks]!)) blocks += 1;
    return blocks * BLOCK;
  }

  /**
   * Number of leading characters that a prompt has in common with one that the worker was sent before and that continued
   * otherwise; undefined if it continues what the worker was sent.
   */
  departure(worker: string, key: PrefixKey): number | undefined {
    const blocks = this.expected(worker, key) / BLOCK;
    const continued = this.#seen.get(worker)?.get(key[blocks - 1] ?? START);
    const departs = blocks < key.length && continued !== undefined && continued !== key[blocks];
    return departs ? blocks * BLOCK : undefined;
  }

  /**
   * Chooses the worker whose cached prefix saves the most, less the penalty for its busy slots. Ties go to the worker
   * with the fewest requests, then to the least recently used one, whose cache is the least valuable.
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

  /** Records that a worker was sent a prompt, or has generated a reply to it. */
  note(worker: string, key: PrefixKey): void {
    this.#lastUse.set(worker, (this.#uses += 1));
    const seen = this.#seen.get(worker) ?? new Map<number, number | undefined>();
    this.#seen.set(worker, seen);
    for (const [at, hash] of [START, ...key].entries()) {
      const next = key[at] ?? seen.get(hash);
      seen.delete(hash);
      seen.set(hash, next);
    }
    for (const hash of seen.keys()) {
      if (seen.size <= this.#capacity + 1) break;
      seen.delete(hash);
    }
  }

  /** Drops a worker that has exited, and its cached prefixes. */
  forget(worker: string): void {
    this.#seen.delete(worker);
    this.#lastUse.delete(worker);
  }

  #isIdler(a: Candidate, b: Candidate): boolean {
    if (a.leased !== b.leased) return a.leased < b.leased;
    return (this.#lastUse.get(a.id) ?? 0) < (this.#lastUse.get(b.id) ?? 0);
  }
}

/** A rough average for languages written with spaces. */
const CHARACTERS_PER_TOKEN = 4;

/** Number of blocks that a worker's slots hold, four times as many with a prompt cache; at most 65,536. */
export function cacheBlocks(slots: number, ctxSize: number, promptCache: boolean): number {
  const inSlots = Math.ceil((slots * ctxSize * CHARACTERS_PER_TOKEN) / BLOCK);
  return Math.min(65_536, promptCache ? inSlots * 4 : inSlots);
}
