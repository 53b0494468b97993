/** The usage of one request, and its conversion to numbers that are safe to add up. */

import type { Outcome } from '../../contract.js';

/** One request that has ended. */
export interface UsageEntry {
  /** The tenant that pays. */
  readonly tenant: string;
  /** The name of the key, never the key itself. */
  readonly key: string;
  /** The id of the model that served the request. */
  readonly model: string;
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** Nanos of the prices' currency; see `costNano`. */
  readonly costNano: number;
  /** Every outcome counts as one request; tokens are those delivered until then. */
  readonly outcome: Outcome;
}

/** Sums over requests. BigInts, because years of a busy server or a small currency exceed 2^53. */
export interface UsageCounts {
  /** All requests: finished, cancelled, broken and refused. */
  requests: bigint;
  promptTokens: bigint;
  completionTokens: bigint;
  costNano: bigint;
  cancelled: bigint;
  broken: bigint;
  refused: bigint;
}

/** The fields of `UsageCounts`, which are also columns of the table. */
export const COUNTS = [
  'requests',
  'promptTokens',
  'completionTokens',
  'costNano',
  'cancelled',
  'broken',
  'refused',
] as const satisfies (keyof UsageCounts)[];

/** Names of tenants, keys and models are cut to this length, so that clients cannot fill the disk with them. */
const MAX_NAME = 256;

/** Max counts accepted for one request, because a remote server's counts cannot be trusted. */
const MAX_TOKENS = 1e9;
const MAX_NANO = 1e15;

/** A name as stored in the table: cut to size and valid Unicode, so that memory and disk agree on it. */
export function storedName(name: string): string {
  return Buffer.from(name.slice(0, MAX_NAME)).toString();
}

/** Converts to a whole number from 0 to `max`; NaN and anything else that is not a number become 0. */
export function toCount(value: number, max = MAX_TOKENS): bigint {
  return value > 0 ? BigInt(Math.min(Math.trunc(value), max)) : 0n;
}

export function noCounts(): UsageCounts {
  return {
    requests: 0n,
    promptTokens: 0n,
    completionTokens: 0n,
    costNano: 0n,
    cancelled: 0n,
    broken: 0n,
    refused: 0n,
  };
}

/** The counts of a single request. */
export function toCounts(entry: UsageEntry): UsageCounts {
  return {
    requests: 1n,
    promptTokens: toCount(entry.promptTokens),
    completionTokens: toCount(entry.completionTokens),
    costNano: toCount(entry.costNano, MAX_NANO),
    cancelled: BigInt(entry.outcome === 'cancelled'),
    broken: BigInt(entry.outcome === 'broken'),
    refused: BigInt(entry.outcome === 'refused'),
  };
}

/** Adds `more` to `sum`, in place. */
export function addCounts(sum: UsageCounts, more: Readonly<UsageCounts>): void {
  for (const field of COUNTS) sum[field] += more[field];
}
