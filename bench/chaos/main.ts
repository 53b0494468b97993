/** `npm run chaos`: the command line of the chaos run. */
import { writeFile } from 'node:fs/promises';
import { startProgress, type Progress } from '../../scripts/progress.js';
import { ChaosError } from './errors.js';
import { passed } from './figures.js';
import { BODIES, parseChaosArgs, USAGE, type ChaosOptions } from './options.js';
import { reportJson, reportText } from './report.js';
import { runChaos } from './run.js';

/** Exits with 0 only when nothing was lost, cut, misrouted or orphaned. */
export async function main(args: readonly string[], { root }: { root: string }): Promise<void> {
  try {
    const rest = withoutBodies(args);
    // It needs a development dependency; the other presets do not.
    if (rest) return await (await import('../bodies/main.js')).main(rest, { root });
    const options = parseChaosArgs(args);
    if (options === undefined) process.stdout.write(`${USAGE}\n`);
    else await run(options, root);
  } catch (error) {
    if (!(error instanceof ChaosError)) throw error;
    process.stderr.write(`chaos: ${error.message}\n`);
    process.exitCode = 1;
  }
}

/** The arguments of `--preset bodies` without it, which has options of its own; undefined where it is another preset. */
function withoutBodies(args: readonly string[]): string[] | undefined {
  const at = args.findIndex((arg, index) => arg === `--preset=${BODIES}` || isPair(args, index));
  if (at < 0) return undefined;
  return args.filter((_, index) => index !== at && !(index === at + 1 && isPair(args, at)));
}

const isPair = (args: readonly string[], at: number): boolean =>
  args[at] === '--preset' && args[at + 1] === BODIES;

async function run(options: ChaosOptions, root: string): Promise<void> {
  const stop = new AbortController();
  const onSignal = () => interrupt(stop);
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  const shown = new Shown();
  try {
    shown.step(`Preset ${options.preset}, seed ${options.seed}`);
    const found = await runChaos(options, {
      root,
      signal: stop.signal,
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
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
}

/** The first one ends the load, and what has been found is printed; the second ends all at once. */
function interrupt(stop: AbortController): void {
  if (stop.signal.aborted) process.exit(130);
  process.stderr.write('\nEnding early; once more to end at once.\n');
  stop.abort(new ChaosError('ended before it began'));
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
