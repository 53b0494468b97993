import { cpus, loadavg, totalmem } from 'node:os';
import { type BenchModel, type ModelName, obtainModel } from './model/models.js';
import { ROOT } from '../src/config/root.js';
import { outputOf } from '../src/install/llama/programs.js';
import { startProgress } from '../src/install/progress.js';

/** What a benchmark gets. */
export interface BenchContext {
  readonly options: BenchOptions;
  /** Aborts on Ctrl-C; then everything that was started is stopped. */
  readonly signal: AbortSignal;
}

/** Options of the command line; undefined leaves the choice to the benchmark. */
export interface BenchOptions {
  readonly models: readonly ModelName[];
  readonly streams: readonly number[] | undefined;
  readonly rounds: number | undefined;
  readonly targets: readonly string[] | undefined;
  /** Tokens of each reply. */
  readonly tokens: number | undefined;
  /** Fewer and shorter rounds, which show that it works and measure little. */
  readonly quick: boolean;
}

/** What a benchmark found, ready to print and keep. */
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
  /** @throws UserError, or the signal's reason. */
  run(context: BenchContext): Promise<Report>;
}

/** Measures with each requested model in turn, and describes the machine. */
export async function measureModels<T>(
  { options }: BenchContext,
  measureModel: (model: BenchModel) => Promise<readonly T[]>,
): Promise<{ machine: Machine; quick: boolean; rows: T[] }> {
  const machine = await describeMachine();
  const rows: T[] = [];
  for (const name of options.models) rows.push(...(await measureModel(await obtainModel(name))));
  return { machine, quick: options.quick, rows };
}

/** The machine that figures come from: without it they say little. */
export interface Machine {
  readonly processor: string;
  readonly cores: number;
  readonly memoryGib: number;
  readonly node: string;
  /** The commit of LMServ's checkout, with `-dirty` if there are uncommitted changes. */
  readonly commit: string | undefined;
  /** Load average of the minute before the benchmark: above 0.5, the machine was busy. */
  readonly loadBefore: number;
}

export async function describeMachine(): Promise<Machine> {
  const loadBefore = loadavg()[0]!;
  const processors = cpus();
  return {
    processor: processors[0]?.model.trim() ?? 'unknown',
    cores: processors.length,
    memoryGib: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    commit: await outputOf('git', ['-C', ROOT, 'describe', '--always', '--dirty'], process.env),
    loadBefore: Math.round(loadBefore * 100) / 100,
  };
}

export interface Steps extends Stoppable {
  /** Counts one more step. */
  step(): void;
}

/** Progress of so many steps. */
export function countSteps(label: string, total: number): Steps {
  const progress = startProgress(label, 'percent');
  let done = 0;
  return {
    step: () => progress.update((done += 1), total),
    stop: async () => progress.stop(),
  };
}

export interface Stoppable {
  stop(): Promise<unknown>;
}

/** Runs a task; whatever it gives to `own` is stopped when the task is over, the last one first. */
export async function withOwned<T>(
  task: (own: <S extends Stoppable>(started: S) => S) => Promise<T>,
): Promise<T> {
  const owned: Stoppable[] = [];
  try {
    return await task((started) => {
      owned.push(started);
      return started;
    });
  } finally {
    for (const started of owned.reverse()) await started.stop();
  }
}

/**
 * Measures each point in turn, round after round, so that changes in the machine's speed affect all of them.
 * @param uncounted rounds at the start that only warm up
 * @returns the results of each point
 */
export function inTurn<P, R>(
  label: string,
  points: readonly P[],
  { rounds, uncounted = 0 }: { rounds: number; uncounted?: number },
  measure: (point: P) => Promise<R>,
): Promise<R[][]> {
  return withOwned(async (own) => {
    const steps = own(countSteps(label, (rounds + uncounted) * points.length));
    const results = points.map((): R[] => []);
    for (let round = -uncounted; round < rounds; round += 1) {
      for (const [index, point] of points.entries()) {
        const result = await measure(point);
        if (round >= 0) results[index]!.push(result);
        steps.step();
      }
    }
    return results;
  });
}
