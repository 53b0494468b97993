import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { ChaosError } from '../errors.js';

export interface HostileArguments {
  readonly seconds: number;
  /** The same seed makes the same choices. */
  readonly seed: number;
  /** Runs only the actions whose name contains this; all of them by default. */
  readonly only?: string | undefined;
}

const OPTIONS = {
  seconds: { type: 'string', default: '60' },
  seed: { type: 'string' },
  only: { type: 'string' },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

const MAX_SECONDS = 86_400;
const MAX_SEED = 2 ** 32 - 1;

/** @returns undefined when help was asked for. @throws ChaosError naming the option that is wrong. */
export function parseHostileArgs(args: readonly string[]): HostileArguments | undefined {
  const values = parse(args);
  if (values.help) return undefined;
  return {
    seconds: whole('seconds', values.seconds, 1, MAX_SECONDS),
    seed: values.seed === undefined ? randomInt(MAX_SEED) : whole('seed', values.seed, 0, MAX_SEED),
    only: values.only,
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: OPTIONS }).values;
  } catch (error) {
    throw new ChaosError(
      `${(error as Error).message}; --preset hostile takes --seconds and --seed, and --only`,
    );
  }
}

function whole(name: string, text: string, min: number, max: number): number {
  const value = text.trim() === '' ? NaN : Number(text);
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw new ChaosError(`--${name}: must be a whole number from ${min} to ${max}`);
}
