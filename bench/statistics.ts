/** The middle of several runs and how far they lie apart. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/**
 * The value below which a share of the values lies, between two values in proportion. NaN of no values.
 *
 * @param share from 0 to 1
 */
export function quantile(values: ArrayLike<number>, share: number): number {
  const sorted = Float64Array.from(values).sort();
  const position = (sorted.length - 1) * share;
  const below = sorted[Math.floor(position)] ?? NaN;
  const above = sorted[Math.ceil(position)] ?? NaN;
  return below + (above - below) * (position - Math.floor(position));
}

/** Of no values, all three are NaN. */
export function spread(values: ArrayLike<number>): Spread {
  return { median: quantile(values, 0.5), min: quantile(values, 0), max: quantile(values, 1) };
}

/** Each value divided by that of the same round. */
export function ratios(values: readonly number[], partners: readonly number[]): number[] {
  return values.map((value, round) => value / partners[round]!);
}

export const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
