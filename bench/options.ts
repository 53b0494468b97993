import path from 'node:path';
import { parseArgs } from 'node:util';
import type { BenchOptions } from './benchmark.js';
import { TARGET_NAMES } from './comparison/targets.js';
import { BenchError } from './errors.js';
import { MODEL_NAMES, type ModelName } from './model/models.js';

const OPTIONS = {
  model: { type: 'string', default: 'both' },
  streams: { type: 'string' },
  rounds: { type: 'string' },
  targets: { type: 'string' },
  tokens: { type: 'string' },
  quick: { type: 'boolean', default: false },
  out: { type: 'string' },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

export interface Arguments {
  readonly benchmark: string | undefined;
  readonly options: BenchOptions;
  /** Where the report goes; undefined keeps none. */
  readonly out: string | undefined;
}

/** Most streams at once: LMServ's queue in a benchmark is a little longer. */
const MAX_STREAMS = 256;

/**
 * @param results where reports go unless told otherwise; a quick run leaves what is there alone
 * @returns undefined when help was asked for
 * @throws BenchError for a bad option
 */
export function parseBenchArgs(args: readonly string[], results: string): Arguments | undefined {
  const { values, positionals } = parsed(args);
  if (values.help) return undefined;
  if (positionals.length > 1) throw new BenchError('name one benchmark');
  const options = {
    models: models(values.model),
    streams: list(values.streams, (item) => integer('--streams', item, MAX_STREAMS)),
    rounds: optional(values.rounds, (item) => integer('--rounds', item, 1000)),
    targets: list(values.targets, target),
    tokens: optional(values.tokens, (item) => integer('--tokens', item, 256)),
    quick: values.quick,
  };
  const standard = values.quick ? undefined : results;
  const out = values.out === undefined ? standard : path.resolve(values.out);
  return { benchmark: positionals[0], options, out };
}

function parsed(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: OPTIONS, allowPositionals: true });
  } catch (error) {
    throw new BenchError((error as Error).message);
  }
}

function models(value: string): readonly ModelName[] {
  if (value === 'both') return MODEL_NAMES;
  const found = MODEL_NAMES.find((name) => name === value);
  if (found === undefined) throw new BenchError(`--model ${value}: one of ${MODEL_NAMES.join(', ')}, both`);
  return [found];
}

function integer(option: string, value: string, most: number): number {
  const number = /^\d+$/.test(value) ? Number(value) : NaN;
  if (!(number >= 1 && number <= most))
    throw new BenchError(`${option} ${value}: a number from 1 to ${most}`);
  return number;
}

function target(name: string): string {
  if (TARGET_NAMES.includes(name)) return name;
  throw new BenchError(`--targets ${name}: some of ${TARGET_NAMES.join(', ')}`);
}

const optional = <T>(value: string | undefined, read: (item: string) => T): T | undefined =>
  value === undefined ? undefined : read(value);

const list = <T>(value: string | undefined, read: (item: string) => T): T[] | undefined =>
  value?.split(',').map((item) => read(item.trim()));
