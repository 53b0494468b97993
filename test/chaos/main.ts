/** `npm run chaos`: the command line of the chaos run. */
import { writeFile } from 'node:fs/promises';
import { UserError } from '../../src/errors.js';
import { interruptible } from '../../src/install/early/interrupt.mjs';
import { type Progress, startProgress } from '../../src/install/progress.js';
import { passed, reportJson, reportText } from './figures.js';
import { type ChaosOptions, type ChaosRun, parseChaosArgs } from './options.js';
import { runChaos } from './run.js';

/** Exits with 0 only when nothing was lost, cut, misrouted or orphaned. */
export async function main(args: readonly string[]): Promise<void> {
  const options = parseChaosArgs(args);
  try {
    await interruptible((signal) => run(options, signal), EARLY);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    process.stderr.write(`chaos: ${error.message}\n`);
    process.exitCode = 1;
  }
}

const EARLY = 'The run ends early, with what was found so far; another Ctrl-C ends it at once.';

async function run(options: ChaosRun, signal: AbortSignal): Promise<void> {
  if (options.preset === 'hostile') return (await import('./hostile/run.js')).main(options, signal);
  // It needs a development dependency; the other presets do not.
  if (options.preset === 'bodies') return (await import('./bodies/run.js')).main(options, signal);
  return runPreset(options, signal);
}

async function runPreset(options: ChaosOptions, signal: AbortSignal): Promise<void> {
  const shown = new Shown();
  try {
    shown.step(`Preset ${options.preset}, seed ${options.seed}`);
    const found = await runChaos(options, {
      signal,
      onStep: (text) => shown.step(text),
      onProgress: (share, detail) => shown.progress(share, detail),
    });
    shown.close();
    process.stdout.write(reportText(found));
    if (options.json !== undefined)
      await writeFile(options.json, `${JSON.stringify(reportJson(found), null, 2)}\n`);
    process.exitCode = passed(found) ? 0 : 1;
  } finally {
    shown.close();
  }
}

/** Steps are lines, the load is a bar. */
class Shown {
  #bar: Progress | undefined;

  step(text: string): void {
    this.close();
    process.stderr.write(`${text}\n`);
  }

  progress(share: number, detail: string): void {
    this.#bar ??= startProgress('Under load', 'percent');
    this.#bar.update(share, 1, detail);
  }

  close(): void {
    this.#bar?.stop();
    this.#bar = undefined;
  }
}
