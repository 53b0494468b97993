/** `npm run chaos`: the command line of the chaos run. */
import { writeFile } from 'node:fs/promises';
import { UserError } from '../../src/errors.js';
import { interruptible } from '../../src/install/early/interrupt.mjs';
import { startProgress, type Progress } from '../../src/install/progress.js';
import { passed } from './figures.js';
import { parseChaosArgs, type ChaosOptions, type ChaosRun } from './options.js';
import { reportJson, reportText } from './report.js';
import { runChaos } from './run.js';

/** Exits with 0 only when nothing was lost, cut, misrouted or orphaned. */
export async function main(args: readonly string[], { root }: { root: string }): Promise<void> {
  const options = parseChaosArgs(args);
  try {
    await interruptible((signal) => run(options, { root, signal }), EARLY);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    process.stderr.write(`chaos: ${error.message}\n`);
    process.exitCode = 1;
  }
}

const EARLY = 'The run ends early, with what was found so far; another Ctrl-C ends it at once.';

async function run(options: ChaosRun, place: { root: string; signal: AbortSignal }): Promise<void> {
  if (options.preset === 'hostile') return (await import('./hostile/main.js')).main(options, place);
  // It needs a development dependency; the other presets do not.
  if (options.preset === 'bodies') return (await import('./bodies/main.js')).main(options, place);
  return runPreset(options, place);
}

async function runPreset(
  options: ChaosOptions,
  { root, signal }: { readonly root: string; readonly signal: AbortSignal },
): Promise<void> {
  const shown = new Shown();
  try {
    shown.step(`Preset ${options.preset}, seed ${options.seed}`);
    const found = await runChaos(options, {
      root,
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
