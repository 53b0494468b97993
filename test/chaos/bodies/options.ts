import { parseArgs } from 'node:util';
import { ChaosError } from '../errors.js';

export interface BodiesArguments {
  /** How many requests are sent. */
  readonly count: number;
  /** The same seed makes the same requests. */
  readonly seed: number;
  /** Requests under way at once. */
  readonly concurrency: number;
}

const OPTIONS = {
  requests: { type: 'string', default: '1000000' },
  seed: { type: 'string' },
  concurrency: { type: 'string', default: '64' },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

/** @returns undefined when help was asked for. @throws ChaosError naming the option that is wrong. */
export function parseBodiesArgs(args: readonly string[]): BodiesArguments | undefined {
  const values = parse(args);
  if (values.help) return undefined;
  return {
    count: whole('requests', values.requests),
    seed: whole('seed', values.seed ?? String(1 + (Date.now() % 2 ** 31))),
    concurrency: whole('concurrency', values.concurrency),
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: OPTIONS }).values;
  } catch (error) {
    const takes = '--preset bodies takes --requests, --seed and --concurrency';
    throw new ChaosError(`${(error as Error).message}; ${takes}`);
  }
}

function whole(name: string, text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 1) return value;
  throw new ChaosError(`--${name}: must be a whole number from 1`);
}
