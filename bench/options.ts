import path from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import type { BenchOptions } from './benchmark.js';
import { TARGET_NAMES } from './comparison/benchmark.js';
import { MODEL_NAMES, type ModelName } from './model/models.js';
import { ROOT } from '../src/config/root.js';
import { numberArgument } from '../src/commands/number-argument.js';

export interface Arguments {
  readonly benchmark: string;
  readonly options: BenchOptions;
  /** Where the report goes; undefined keeps none. */
  readonly out: string | undefined;
}

interface Flags {
  readonly model: ModelName | 'both';
  readonly streams?: number[];
  readonly rounds?: number;
  readonly targets?: string[];
  readonly tokens?: number;
  readonly quick: boolean;
  readonly out?: string;
}

/** Max streams at once: LMServ's queue in a benchmark is a little longer. */
const MAX_STREAMS = 256;

export function benchCommand(): Command {
  const whole = (max: number) => numberArgument({ min: 1, max, whole: true });
  return new Command('npm run bench --')
    .description('measures LMServ on this machine (Linux)')
    .argument('[benchmark]', 'which one', 'comparison')
    .addOption(
      new Option('--model <name>', 'the demo model, or one of 27 M parameters with random weights')
        .choices([...MODEL_NAMES, 'both'])
        .default('demo'),
    )
    .option('--streams <list>', 'replies at a time, such as 1,8', listOf(whole(MAX_STREAMS)))
    .option('--rounds <number>', 'counted rounds', whole(1000))
    .option('--tokens <number>', 'tokens of each reply', whole(256))
    .option('--targets <list>', `of comparison: some of ${TARGET_NAMES.join(',')}`, listOf(parseTarget))
    .option('--quick', 'fewer and shorter rounds; keeps no report unless --out is given', false)
    .option('--out <folder>', 'where the report goes (default: bench/results)', (folder) =>
      path.resolve(folder),
    )
    .addHelpText(
      'after',
      '\nBENCH_NODE_ARGS: more arguments for the Node of LMServ and of bare, such as --cpu-prof',
    );
}

/** Where reports go by default; a quick run keeps none there. */
export const RESULTS = path.join(ROOT, 'bench/results');

/** Exits the process on --help or a bad option, unless the command has been set to throw. */
export function parseBenchArgs(args: readonly string[], command = benchCommand()): Arguments {
  command.parse(args, { from: 'user' });
  const { model, streams, rounds, targets, tokens, quick, out } = command.opts<Flags>();
  const models = model === 'both' ? MODEL_NAMES : [model];
  return {
    benchmark: command.processedArgs[0] as string,
    options: { models, streams, rounds, targets, tokens, quick },
    out: out ?? (quick ? undefined : RESULTS),
  };
}

function parseTarget(name: string): string {
  if (TARGET_NAMES.includes(name)) return name;
  throw new InvalidArgumentError(`${name} is none of ${TARGET_NAMES.join(', ')}.`);
}

const listOf =
  <T>(parse: (item: string) => T) =>
  (text: string): T[] =>
    text.split(',').map((item) => parse(item.trim()));
