/**
 * Money as whole numbers. The unit is the nano, a billionth of the currency of the prices: 0.15 dollars per million
 * tokens are 150 nanos per token. Unlike sums of fractions, sums of whole numbers are exact in any order; they are
 * BigInts, so that they suit the smallest currency.
 */

import type { Price } from '../../contract.js';
import { toCount } from './entry.js';

/** Nanos per unit of the currency. */
const NANO = 1_000_000_000;

/** Max cost recorded for one request: a wrong count from a remote server must not overflow the table. */
const MAX_COST_NANO = BigInt(1_000_000 * NANO);

/** Converts an amount of the currency to nanos; digits past the ninth are rounded. Never throws. */
export function toNano(amount: number): bigint {
  return toCount(Math.round(amount * NANO), Number.MAX_VALUE);
}

/**
 * The cost of one request in nanos, rounded once and half up, so within half a nano of the exact price. Never throws,
 * whatever a backend counted.
 */
export function costNano(tokens: { promptTokens: number; completionTokens: number }, price: Price): number {
  const thousandfold =
    toCount(tokens.promptTokens) * toNano(price.promptPer1k) +
    toCount(tokens.completionTokens) * toNano(price.completionPer1k);
  const cost = (thousandfold + 500n) / 1000n;
  return Number(cost < MAX_COST_NANO ? cost : MAX_COST_NANO);
}

/** Formats nanos as a decimal number of the currency, exact and without an exponent: 37500 → `0.0000375`. */
export function formatNano(nano: bigint): string {
  const digits = String(nano).padStart(10, '0');
  const fraction = digits.slice(-9).replace(/0+$/, '');
  return digits.slice(0, -9) + (fraction === '' ? '' : `.${fraction}`);
}
