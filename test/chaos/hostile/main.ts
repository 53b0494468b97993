import type { HostileOptions } from '../options.js';
import { failuresOf, reportText } from './findings.js';
import { runHostile } from './run.js';

/** Is hostile to a real LMServ and prints what it found. The exit code is 1 when that is not good enough. */
export async function main(
  options: HostileOptions,
  { root, signal }: { readonly root: string; readonly signal: AbortSignal },
): Promise<void> {
  const onStep = (text: string) => void process.stderr.write(`${text}\n`);
  const found = await runHostile({ root, ...options, signal, onStep });
  process.stdout.write(reportText(found));
  process.exitCode = failuresOf(found).length === 0 ? 0 : 1;
}
