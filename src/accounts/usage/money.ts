/**
 * Money as whole numbers. The unit is the nano: a billionth of whatever currency the prices are given in, so 0.15
 * dollars per million tokens are 150 nanos a token. Sums of whole numbers are exact in every order, which sums of
 * fractions are not; sums are BigInts, of which no currency is too small.
 */

import type { Price } from '../../contract.js';
import { count } from './entry.js';

/** Nanos in one of the currency. */
export const NANO = 1_000_000_000;

/** The most that one request is booked with: a wild count from a remote server must not wedge the table. */
const MAX_COST_NANO = BigInt(1_000_000 * NANO);

/** An amount of the currency, as people write it in a file, in nanos; digits past the ninth are rounded. Never throws. */
export function toNano(amount: number): bigint {
  return count(Math.round(amount * NANO), Number.MAX_VALUE);
}

/**
 * What one request cost, in nanos, rounded once and half up: never more than half a nano from the true price.
 * Never throws, whatever a backend counted.
 */
export function costNano(tokens: { promptTokens: number; completionTokens: number }, price: Price): number {
  const thousandfold =
    count(tokens.promptTokens) * toNano(price.promptPer1k) +
    count(tokens.completionTokens) * toNano(price.completionPer1k);
  const cost = (thousandfold + 500n) / 1000n;
  return Number(cost < MAX_COST_NANO ? cost : MAX_COST_NANO);
}

/** Nanos as a decimal of the currency, exact and without an exponent: 37500 → `0.0000375`. */
export function formatNano(nano: bigint): string {
  const digits = String(nano).padStart(10, '0');
  const fraction = digits.slice(-9).replace(/0+$/, '');
  return digits.slice(0, -9) + (fraction === '' ? '' : `.${fraction}`);
}
