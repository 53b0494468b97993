/** How the cost of something may grow with its size. */
export type Growth = 'not at all' | 'linearly';

export interface Cost {
  readonly size: number;
  readonly cost: number;
}

/** What rounds differ by where nothing grows. */
const NOISE = 1.15;

/**
 * Judges costs by size, the smallest first. A line through the two smallest says what linear growth would cost at the
 * others; with two sizes only, linear growth is at most in proportion to the size.
 */
export function verdictOf(costs: readonly Cost[], allowed: Growth): string {
  const [first, second, ...others] = costs;
  if (first === undefined || second === undefined) return 'one size only';
  const exceeds = (limit: (size: number) => number, points: readonly Cost[]) =>
    points.some(({ size, cost }) => !(cost <= limit(size) * NOISE));
  if (!exceeds(() => first.cost, costs)) return 'does not grow';
  if (allowed === 'not at all') return 'GROWS';
  const slope = Math.max(0, (second.cost - first.cost) / (second.size - first.size));
  const faster =
    others.length > 0
      ? exceeds((size) => first.cost + slope * (size - first.size), others)
      : exceeds((size) => (first.cost * size) / first.size, [second]);
  return faster ? 'GROWS FASTER THAN LINEARLY' : 'grows at most linearly';
}
