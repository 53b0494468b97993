import { interruptible } from '../interrupt.js';
import { USAGE } from '../options.js';
import { failuresOf, reportText } from './findings.js';
import { parseHostileArgs } from './options.js';
import { runHostile } from './run.js';

/**
 * Is hostile to a real LMServ and prints what it found. The exit code is 1 when that is not good enough.
 *
 * @throws ChaosError for a bad option.
 */
export async function main(args: readonly string[], { root }: { readonly root: string }): Promise<void> {
  const asked = parseHostileArgs(args);
  if (asked === undefined) return void process.stdout.write(`${USAGE}\n`);
  await interruptible(async (signal) => {
    const onStep = (text: string) => void process.stderr.write(`${text}\n`);
    const found = await runHostile({ root, ...asked, signal, onStep });
    process.stdout.write(reportText(found));
    process.exitCode = failuresOf(found).length === 0 ? 0 : 1;
  });
}
