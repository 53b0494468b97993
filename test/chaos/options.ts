import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { ChaosError } from './errors.js';
import { PRESETS, type Preset, type PresetName } from './presets.js';

/** The presets with a run and options of their own: `bodies/` and `hostile/`. */
export const BODIES = 'bodies';
export const HOSTILE = 'hostile';

export const USAGE = `npm run chaos -- [options]: asks a server of its own while it is being broken, and counts what its clients saw
  --preset NAME        mixed (the default), kills or soak; or bodies, which takes --requests, --seed and --concurrency,
                       or hostile, which takes --seconds and --seed
  --seconds N          end after so many seconds
  --requests N         end after so many requests
  --concurrency N      requests at a time
  --workers N          llama.cpp processes
  --kill-every MS      a random worker gets SIGKILL that often; 0 is never
  --stop-rate P        the share of those that get SIGSTOP instead, 0 to 1
  --seed N             repeat the choices of another run
  --json FILE          write the figures there too`;

const OPTIONS = {
  preset: { type: 'string', default: 'mixed' },
  seconds: { type: 'string' },
  requests: { type: 'string' },
  concurrency: { type: 'string' },
  workers: { type: 'string' },
  'kill-every': { type: 'string' },
  'stop-rate': { type: 'string' },
  seed: { type: 'string' },
  json: { type: 'string' },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

export interface ChaosOptions extends Preset {
  readonly preset: PresetName;
  readonly seed: number;
  /** Where the figures are written. */
  readonly json: string | undefined;
}

const LARGEST_SEED = 2 ** 32 - 1;

/** @returns undefined when help was asked for. @throws ChaosError naming the option that is wrong. */
export function parseChaosArgs(args: readonly string[]): ChaosOptions | undefined {
  const values = parse(args);
  if (values.help) return undefined;
  const name = presetName(values.preset);
  const preset: Preset = PRESETS[name];
  const asked = (option: NumberOption, range: Range = WHOLE) => number(option, values[option], range);
  const requests = asked('requests');
  const seconds = asked('seconds', { min: 1, max: 86_400 });
  return {
    ...preset,
    // One of them alone takes the place of the preset's.
    ...(requests === undefined && seconds === undefined ? {} : { requests, seconds }),
    preset: name,
    workers: asked('workers', { min: 1, max: 64, whole: true }) ?? preset.workers,
    concurrency: asked('concurrency', { min: 1, max: 1_000, whole: true }) ?? preset.concurrency,
    killEveryMs: asked('kill-every', { min: 0, max: 3_600_000 }) ?? preset.killEveryMs,
    stopRate: asked('stop-rate', { min: 0, max: 1 }) ?? preset.stopRate,
    seed: asked('seed', { min: 0, max: LARGEST_SEED, whole: true }) ?? randomInt(LARGEST_SEED),
    json: values.json,
  };
}

type NumberOption = 'seconds' | 'requests' | 'concurrency' | 'workers' | 'kill-every' | 'stop-rate' | 'seed';

interface Range {
  readonly min: number;
  readonly max: number;
  readonly whole?: boolean;
}

const WHOLE: Range = { min: 1, max: 100_000_000, whole: true };

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: OPTIONS }).values;
  } catch (error) {
    throw new ChaosError(`${(error as Error).message}\n${USAGE}`);
  }
}

function presetName(given: string): PresetName {
  if (Object.hasOwn(PRESETS, given)) return given as PresetName;
  throw new ChaosError(`--preset: is one of ${[...Object.keys(PRESETS), BODIES, HOSTILE].join(', ')}`);
}

function number(
  option: string,
  given: string | undefined,
  { min, max, whole = false }: Range,
): number | undefined {
  if (given === undefined) return undefined;
  const value = given.trim() === '' ? NaN : Number(given);
  if (value >= min && value <= max && (!whole || Number.isInteger(value))) return value;
  throw new ChaosError(`--${option}: must be a ${whole ? 'whole ' : ''}number from ${min} to ${max}`);
}
