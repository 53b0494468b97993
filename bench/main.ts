/** `npm run bench`: measures LMServ on this machine. */
import path from 'node:path';
import { UserError } from '../src/errors.js';
import { interruptible } from '../src/install/early/interrupt.mjs';
import { affinity } from './affinity.js';
import type { Benchmark } from './benchmark.js';
import { comparison } from './comparison/benchmark.js';
import { BenchError } from './errors.js';
import { benchCommand, parseBenchArgs, type Arguments } from './options.js';
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

/** Runs one benchmark; Ctrl-C stops all that it started. */
export async function main(args: readonly string[], { root }: { root: string }): Promise<void> {
  const summaries = Object.entries(BENCHMARKS).map(
    ([name, { summary }]) => `  ${name.padEnd(12)} ${summary}`,
  );
  const command = benchCommand().addHelpText('before', `Benchmarks:\n${summaries.join('\n')}\n`);
  const parsed = parseBenchArgs(args, path.join(root, 'bench/results'), command);
  try {
    await interruptible((signal) => run(parsed, root, signal), 'What was started is being stopped.');
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    process.stderr.write(`bench: ${error.message}\n`);
    process.exitCode = 1;
  }
}

async function run(parsed: Arguments, root: string, signal: AbortSignal): Promise<void> {
  const name = parsed.benchmark;
  const benchmark = Object.hasOwn(BENCHMARKS, name) ? BENCHMARKS[name] : undefined;
  if (!benchmark)
    throw new BenchError(`there is no ${name}; there are ${Object.keys(BENCHMARKS).join(', ')}`);
  if (process.platform !== 'linux') throw new BenchError('the benchmarks read /proc and need Linux');
  const report = await benchmark.run({ root, options: parsed.options, signal });
  process.stdout.write(`\n${report.text}\n`);
  if (parsed.out === undefined) return;
  const files = await writeReport(parsed.out, name, report);
  process.stdout.write(`\n${files.map((file) => path.relative(process.cwd(), file)).join('\n')}\n`);
}
