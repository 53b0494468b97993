/** What is counted of a request, and how it becomes numbers that are safe to add up. */

import type { Outcome } from '../../contract.js';

/** One request, as the server reports it when the request has ended. */
export interface UsageEntry {
  /** Who is charged. */
  readonly tenant: string;
  /** Name of the key that was used, never the key. */
  readonly key: string;
  /** Id of the model that answered. */
  readonly model: string;
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** In nanos of the prices' currency; see `costNano`. */
  readonly costNano: number;
  /** Every outcome counts as one request; tokens are those delivered until then. */
  readonly outcome: Outcome;
}

/** Sums over requests. Whole numbers of any size: years of a busy server, or a small currency, exceed 2^53. */
export interface UsageCounts {
  /** All of them: finished, cancelled, broken and refused. */
  requests: bigint;
  promptTokens: bigint;
  completionTokens: bigint;
  costNano: bigint;
  cancelled: bigint;
  broken: bigint;
  refused: bigint;
}

/** The fields of `UsageCounts`, which are columns of the table too. */
export const COUNTS = [
  'requests',
  'promptTokens',
  'completionTokens',
  'costNano',
  'cancelled',
  'broken',
  'refused',
] as const satisfies (keyof UsageCounts)[];

/** Longest name kept of a tenant, key or model; a longer one is cut, so that no client can fill the disk with one. */
const MAX_NAME = 256;

/** Most tokens believed of one request, and most nanos: a remote server's counts are not ours to trust. */
const MAX_TOKENS = 1e9;
const MAX_NANO = 1e15;

/** A name as the table holds it: cut to size and valid Unicode, so that memory and disk agree on who it is. */
export function storedName(name: string): string {
  return Buffer.from(name.slice(0, MAX_NAME)).toString();
}

/** A whole number from 0 to `max`; NaN and whatever is not a number count as 0. */
export function count(value: number, max = MAX_TOKENS): bigint {
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
export function countsOf(entry: UsageEntry): UsageCounts {
  return {
    requests: 1n,
    promptTokens: count(entry.promptTokens),
    completionTokens: count(entry.completionTokens),
    costNano: count(entry.costNano, MAX_NANO),
    cancelled: BigInt(entry.outcome === 'cancelled'),
    broken: BigInt(entry.outcome === 'broken'),
    refused: BigInt(entry.outcome === 'refused'),
  };
}

/** Adds `more` to `sum`, in place. */
export function addCounts(sum: UsageCounts, more: Readonly<UsageCounts>): void {
  for (const field of COUNTS) sum[field] += more[field];
}
