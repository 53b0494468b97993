/** Figures as they are kept: four digits, and null for what was not measured, because JSON knows no NaN. */
export function toFigures(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_, part: unknown) => (typeof part === 'number' ? rounded(part) : part)),
  );
}

function rounded(value: number): number | null {
  return Number.isFinite(value) ? Number(value.toPrecision(4)) : null;
}
