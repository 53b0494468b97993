/** `npm run chaos`: the command line of the chaos run. */
import { writeFile } from 'node:fs/promises';
import { startProgress, type Progress } from '../../src/install/progress.js';
import { ChaosError } from './errors.js';
import { passed } from './figures.js';
import { interruptible } from './interrupt.js';
import { BODIES, HOSTILE, parseChaosArgs, USAGE, type ChaosOptions } from './options.js';
import { reportJson, reportText } from './report.js';
import { runChaos } from './run.js';

/** Exits with 0 only when nothing was lost, cut, misrouted or orphaned. */
export async function main(args: readonly string[], { root }: { root: string }): Promise<void> {
  try {
    const bodies = withoutPreset(BODIES, args);
    // It needs a development dependency; the other presets do not.
    if (bodies) return await (await import('./bodies/main.js')).main(bodies, { root });
    const hostile = withoutPreset(HOSTILE, args);
    if (hostile) return await (await import('./hostile/main.js')).main(hostile, { root });
    const options = parseChaosArgs(args);
    if (options === undefined) process.stdout.write(`${USAGE}\n`);
    else await interruptible((signal) => run(options, { root, signal }));
  } catch (error) {
    if (!(error instanceof ChaosError)) throw error;
    process.stderr.write(`chaos: ${error.message}\n`);
    process.exitCode = 1;
  }
}

/** The arguments without `--preset NAME`, of a preset with options of its own; undefined where it is another one. */
function withoutPreset(name: string, args: readonly string[]): string[] | undefined {
  const isPair = (at: number) => args[at] === '--preset' && args[at + 1] === name;
  const at = args.findIndex((arg, index) => arg === `--preset=${name}` || isPair(index));
  if (at < 0) return undefined;
  return args.filter((_, index) => index !== at && !(index === at + 1 && isPair(at)));
}

async function run(
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
