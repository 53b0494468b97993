import type { Spread } from '../statistics.js';

/** Figures as people read them: three digits, no more than they are worth. A dash for what was not measured. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return '–';
  if (value === 0) return '0';
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

/** `0.95 (0.93–0.97)` */
export function spreadFigure({ median, min, max }: Spread): string {
  if (!Number.isFinite(median)) return '–';
  return `${median.toFixed(2)} (${min.toFixed(2)}–${max.toFixed(2)})`;
}
