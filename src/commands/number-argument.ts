import { InvalidArgumentError } from 'commander';

export interface NumberRange {
  readonly min: number;
  readonly max?: number;
  readonly whole?: boolean;
}

/** Makes a commander parser for numbers of a range; commander names the option in the error. */
export function numberArgument(range: NumberRange): (text: string) => number {
  const { min, max = Infinity, whole = false } = range;
  return (text) => {
    const value = text.trim() === '' ? NaN : Number(text);
    if (Number.isFinite(value) && value >= min && value <= max && (!whole || Number.isInteger(value)))
      return value;
    const end = max === Infinity ? '' : ` to ${max}`;
    throw new InvalidArgumentError(`It must be a ${whole ? 'whole ' : ''}number from ${min}${end}.`);
  };
}
