import { randomInt } from 'node:crypto';
import { Command, Option } from 'commander';
import { numberArgument } from '../../src/commands/number-argument.js';

/** Kinds of requests: how many of a hundred are of each kind. */
export interface Mix {
  /** Asks and reads. */
  readonly plain: number;
  /** Asks for log probabilities: such a reply cannot be resumed. */
  readonly bound: number;
  /** Reads a little, pauses, reads on. */
  readonly slow: number;
  /** Disconnects before the reply begins. */
  readonly leavesWaiting: number;
  /** Disconnects in the middle of the reply. */
  readonly leavesStreaming: number;
  /** Disconnects in the middle of its own body. */
  readonly leavesSending: number;
  /** Sends a request that must be refused. */
  readonly bad: number;
}

export type Actor = keyof Mix;

/** What a run consists of. */
export interface Preset {
  /** Ends after so many requests … */
  readonly requests: number | undefined;
  /** … or seconds, whichever comes first. */
  readonly seconds: number | undefined;
  readonly workers: number;
  /** Requests at a time. */
  readonly concurrency: number;
  /** How often a random worker is killed, milliseconds; 0 means never. */
  readonly killEveryMs: number;
  /** The share of kills that are SIGSTOPs instead: 0 to 1. */
  readonly stopRate: number;
  /** After so many requests, more than the queue takes are sent at once; 0 means never. */
  readonly burstEvery: number;
  /** Longest reply, tokens. */
  readonly maxTokens: number;
  readonly mix: Mix;
}

/** The longest story of the demo model is shorter. */
const WHOLE_REPLY = 320;

const NO_FAULTS = {
  seconds: undefined,
  workers: 4,
  killEveryMs: 0,
  stopRate: 0,
  burstEvery: 0,
  mix: { plain: 100, bound: 0, slow: 0, leavesWaiting: 0, leavesStreaming: 0, leavesSending: 0, bad: 0 },
};

export const PRESETS = {
  /** A little of everything. */
  mixed: {
    requests: undefined,
    seconds: 60,
    workers: 4,
    concurrency: 16,
    killEveryMs: 2_000,
    stopRate: 0.2,
    burstEvery: 1_000,
    maxTokens: WHOLE_REPLY,
    mix: { plain: 68, bound: 4, slow: 6, leavesWaiting: 4, leavesStreaming: 6, leavesSending: 4, bad: 8 },
  },
  /** 10,000 plain requests while workers die. */
  kills: { ...NO_FAULTS, requests: 10_000, concurrency: 12, killEveryMs: 2_000, maxTokens: WHOLE_REPLY },
  /** 100,000 short requests: does the server grow? */
  soak: { ...NO_FAULTS, requests: 100_000, concurrency: 48, maxTokens: 2 },
} satisfies Record<string, Preset>;

type PresetName = keyof typeof PRESETS;

export interface ChaosOptions extends Preset {
  readonly preset: PresetName;
  readonly seed: number;
  /** Where the figures are written. */
  readonly json: string | undefined;
}

export interface BodiesOptions {
  readonly preset: 'bodies';
  /** How many requests are sent. */
  readonly count: number;
  /** The same seed makes the same requests. */
  readonly seed: number;
  /** Requests at a time. */
  readonly concurrency: number;
}

export interface HostileOptions {
  readonly preset: 'hostile';
  readonly seconds: number;
  /** The same seed makes the same choices. */
  readonly seed: number;
  /** Runs only the actions whose name contains this; all of them by default. */
  readonly only?: string | undefined;
}

export type ChaosRun = ChaosOptions | BodiesOptions | HostileOptions;

interface Flags {
  readonly preset: ChaosRun['preset'];
  readonly seconds?: number;
  readonly requests?: number;
  readonly concurrency?: number;
  readonly workers?: number;
  readonly killEvery?: number;
  readonly stopRate?: number;
  readonly seed?: number;
  readonly json?: string;
  readonly only?: string;
}

const MAX_SEED = 2 ** 32 - 1;

/** Options of the presets with their own kind of run; the others take all. */
const TAKEN: Partial<Record<ChaosRun['preset'], readonly string[]>> = {
  bodies: ['requests', 'seed', 'concurrency'],
  hostile: ['seconds', 'seed', 'only'],
};

export function chaosCommand(): Command {
  const whole = (min: number, max: number) => numberArgument({ min, max, whole: true });
  const presets = [...Object.keys(PRESETS), ...Object.keys(TAKEN)];
  return new Command('npm run chaos --')
    .description('starts a server, breaks it while sending requests, and counts what its clients saw')
    .addOption(
      new Option(
        '--preset <name>',
        'bodies takes --requests, --seed and --concurrency, hostile --seconds, --seed and --only',
      )
        .choices(presets)
        .default('mixed'),
    )
    .option('--seconds <number>', 'end after this time', numberArgument({ min: 1, max: 86_400 }))
    .option('--requests <number>', 'end after this many requests', whole(1, 100_000_000))
    .option('--concurrency <number>', 'requests at a time', whole(1, 1_000))
    .option('--workers <number>', 'llama.cpp processes', whole(1, 64))
    .option(
      '--kill-every <ms>',
      'how often a random worker gets SIGKILL; 0 means never',
      numberArgument({ min: 0, max: 3_600_000 }),
    )
    .option(
      '--stop-rate <share>',
      'share of those that get SIGSTOP instead, 0 to 1',
      numberArgument({ min: 0, max: 1 }),
    )
    .option('--seed <number>', 'repeat the choices of another run', whole(0, MAX_SEED))
    .option('--json <file>', 'also write the figures to this file')
    .option('--only <text>', 'of hostile: only the actions whose names contain this text');
}

/** Exits the process on --help or a bad option, unless the command has been set to throw. */
export function parseChaosArgs(args: readonly string[], command = chaosCommand()): ChaosRun {
  command.parse(args, { from: 'user' });
  const flags = command.opts<Flags>();
  const { seed = randomInt(MAX_SEED), seconds, requests } = flags;
  requireTaken(command, flags.preset);
  if (flags.preset === 'bodies')
    return { preset: 'bodies', count: requests ?? 1_000_000, seed, concurrency: flags.concurrency ?? 64 };
  if (flags.preset === 'hostile')
    return { preset: 'hostile', seconds: Math.ceil(seconds ?? 60), seed, only: flags.only };
  const preset: Preset = PRESETS[flags.preset];
  return {
    ...preset,
    // One of them alone replaces both of the preset.
    ...(requests === undefined && seconds === undefined ? {} : { requests, seconds }),
    preset: flags.preset,
    workers: flags.workers ?? preset.workers,
    concurrency: flags.concurrency ?? preset.concurrency,
    killEveryMs: flags.killEvery ?? preset.killEveryMs,
    stopRate: flags.stopRate ?? preset.stopRate,
    seed,
    json: flags.json,
  };
}

function requireTaken(command: Command, preset: ChaosRun['preset']): void {
  const taken = TAKEN[preset];
  if (taken === undefined) return;
  const other = command.options.find((option) => {
    const name = option.attributeName();
    return name !== 'preset' && !taken.includes(name) && command.getOptionValueSource(name) === 'cli';
  });
  if (other === undefined) return;
  const names = taken.map((name) => `--${name}`).join(', ');
  command.error(`error: --preset ${preset} takes only ${names}, not ${other.long}`);
}
