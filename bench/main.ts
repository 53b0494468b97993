/** `npm run bench`: measures LMServ on this machine. */
import { constants } from 'node:os';
import path from 'node:path';
import { affinity } from './affinity.js';
import type { Benchmark } from './benchmark.js';
import { comparison } from './comparison/benchmark.js';
import { BenchError } from './errors.js';
import { parseBenchArgs, type Arguments } from './options.js';
import { growth } from './growth/benchmark.js';
import { resume } from './resume.js';
import { writeReport } from './report/write.js';
import { slots } from './slots.js';
import { start } from './start.js';

const BENCHMARKS: Readonly<Record<string, Benchmark>> = {
  comparison,
  growth,
  slots,
  affinity,
  resume,
  start,
};

const STANDARD = 'comparison';

const usage = (): string => `npm run bench -- [benchmark] [options]: measures LMServ on this machine (Linux)
${Object.entries(BENCHMARKS)
  .map(([name, { summary }]) => `  ${name.padEnd(12)} ${summary}${name === STANDARD ? ' (the default)' : ''}`)
  .join('\n')}
options
  --model demo|large|both  the demo model, and one of 27 M parameters with random weights (both)
  --streams 1,8            replies at a time
  --rounds N               counted rounds
  --tokens N               tokens of each reply
  --targets A,B            of comparison: some of nginx, bare, lmserv-chat, lmserv-openai, portkey
  --quick                  fewer and shorter rounds; keeps no report unless --out is given
  --out FOLDER             where the report goes (bench/results)
environment
  BENCH_NODE_ARGS          more arguments for the Node of LMServ and of bare, such as --cpu-prof --cpu-prof-dir=FOLDER
`;

/** Runs one benchmark; Ctrl-C stops all that it started. */
export async function main(args: readonly string[], { root }: { root: string }): Promise<void> {
  try {
    const given = parseBenchArgs(args, path.join(root, 'bench/results'));
    if (given === undefined) return void process.stdout.write(usage());
    await interruptible((signal) => run(given, root, signal));
  } catch (error) {
    if (!(error instanceof BenchError)) throw error;
    process.stderr.write(`bench: ${error.message}\n`);
    process.exitCode = 1;
  }
}

async function run(given: Arguments, root: string, signal: AbortSignal): Promise<void> {
  const name = given.benchmark ?? STANDARD;
  const benchmark = Object.hasOwn(BENCHMARKS, name) ? BENCHMARKS[name] : undefined;
  if (!benchmark)
    throw new BenchError(`there is no ${name}; there are ${Object.keys(BENCHMARKS).join(', ')}`);
  if (process.platform !== 'linux') throw new BenchError('the benchmarks read /proc and need Linux');
  const report = await benchmark.run({ root, options: given.options, signal });
  process.stdout.write(`\n${report.text}\n`);
  if (given.out === undefined) return;
  const files = await writeReport(given.out, name, report);
  process.stdout.write(`\n${files.map((file) => path.relative(process.cwd(), file)).join('\n')}\n`);
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** A signal ends the task in good order, which takes seconds at most; further ones change nothing. */
async function interruptible(task: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const controller = new AbortController();
  const onSignal = (name: NodeJS.Signals) => controller.abort(name);
  for (const name of SIGNALS) process.on(name, onSignal);
  try {
    await task(controller.signal);
  } catch (error) {
    if (!controller.signal.aborted) throw error;
    process.stderr.write('\nInterrupted.\n');
    process.exitCode = 128 + constants.signals[controller.signal.reason as NodeJS.Signals];
  } finally {
    for (const name of SIGNALS) process.off(name, onSignal);
  }
}
