import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { affinity } from './affinity.js';
import { agents } from './agents.js';
import type { Benchmark, Report } from './benchmark.js';
import { comparison } from './comparison/benchmark.js';
import { growth } from './growth.js';
import { models } from './models.js';
import { type Arguments, benchCommand, parseBenchArgs } from './options.js';
import { resume } from './resume.js';
import { savedSlots } from './saved-slots.js';
import { slots } from './slots.js';
import { start } from './start.js';
import { UserError } from '../src/errors.js';
import { interruptible } from '../src/install/early/interrupt.mjs';

/** `npm run bench`: measures LMServ on this machine. */

const BENCHMARKS: Readonly<Record<string, Benchmark>> = {
  comparison,
  growth,
  slots,
  affinity,
  agents,
  resume,
  start,
  models,
  'saved-slots': savedSlots,
};

/** Runs one benchmark; Ctrl-C stops all that it started. */
export async function main(args: readonly string[]): Promise<void> {
  const summaries = Object.entries(BENCHMARKS).map(
    ([name, { summary }]) => `  ${name.padEnd(12)} ${summary}`,
  );
  const command = benchCommand().addHelpText('before', `Benchmarks:\n${summaries.join('\n')}\n`);
  const parsed = parseBenchArgs(args, command);
  try {
    await interruptible((signal) => run(parsed, signal), 'What was started is being stopped.');
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    process.stderr.write(`bench: ${error.message}\n`);
    process.exitCode = 1;
  }
}

async function run(parsed: Arguments, signal: AbortSignal): Promise<void> {
  const name = parsed.benchmark;
  const benchmark = Object.hasOwn(BENCHMARKS, name) ? BENCHMARKS[name] : undefined;
  if (!benchmark) throw new UserError(`there is no ${name}; there are ${Object.keys(BENCHMARKS).join(', ')}`);
  if (process.platform !== 'linux') throw new UserError('the benchmarks read /proc and need Linux');
  const report = await benchmark.run({ options: parsed.options, signal });
  process.stdout.write(`\n${report.text}\n`);
  if (parsed.out === undefined) return;
  const files = await writeReport(parsed.out, name, report);
  process.stdout.write(`\n${files.map((file) => path.relative(process.cwd(), file)).join('\n')}\n`);
}

/** Keeps a report as `NAME.json`, and as `NAME.svg` where it has a chart. @returns the paths. */
async function writeReport(folder: string, name: string, report: Report): Promise<string[]> {
  await mkdir(folder, { recursive: true });
  const json = path.join(folder, `${name}.json`);
  const svg = path.join(folder, `${name}.svg`);
  await writeFile(json, `${JSON.stringify(report.figures, null, 1)}\n`);
  if (report.chart === undefined) return [json];
  await writeFile(svg, report.chart);
  return [json, svg];
}
