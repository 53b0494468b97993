import { describeMachine, type Machine } from './machine.js';
import { obtainModel, type BenchModel, type ModelName } from './model/models.js';

/** What a benchmark is given. */
export interface BenchContext {
  /** The checkout. */
  readonly root: string;
  readonly options: BenchOptions;
  /** Fires at Ctrl-C; then everything that was started is stopped. */
  readonly signal: AbortSignal;
}

/** What was asked for on the command line; undefined leaves it to the benchmark. */
export interface BenchOptions {
  readonly models: readonly ModelName[];
  readonly streams: readonly number[] | undefined;
  readonly rounds: number | undefined;
  readonly targets: readonly string[] | undefined;
  /** Tokens of each reply. */
  readonly tokens: number | undefined;
  /** Fewer and shorter rounds: shows that it works, measures little. */
  readonly quick: boolean;
}

/** What a benchmark found, ready to be printed and kept. */
export interface Report {
  /** Text for the terminal. */
  readonly text: string;
  /** All figures, for `NAME.json`. */
  readonly figures: object;
  /** An image, for `NAME.svg`. */
  readonly chart?: string;
}

export interface Benchmark {
  /** One line for the help. */
  readonly summary: string;
  /** @throws BenchError, or the signal's reason when it aborts. */
  run(context: BenchContext): Promise<Report>;
}

/** Measures with each requested model in turn. Figures are kept with the machine they come from. */
export async function measureModels<T>(
  { root, options }: BenchContext,
  measureModel: (model: BenchModel) => Promise<readonly T[]>,
): Promise<{ machine: Machine; quick: boolean; rows: T[] }> {
  const machine = await describeMachine(root);
  const rows: T[] = [];
  for (const name of options.models) rows.push(...(await measureModel(await obtainModel(name, root))));
  return { machine, quick: options.quick, rows };
}
