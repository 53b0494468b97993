/** What a request does beside asking: how many of a hundred do which. */
export interface Mix {
  /** Asks, reads, ends. */
  readonly plain: number;
  /** Asks for log probabilities: a reply that no other worker can go on with. */
  readonly bound: number;
  /** Reads a little, pauses, reads on. */
  readonly slow: number;
  /** Goes away before the reply begins. */
  readonly leavesWaiting: number;
  /** Goes away in the middle of the reply. */
  readonly leavesStreaming: number;
  /** Goes away in the middle of its own body. */
  readonly leavesSending: number;
  /** Sends what must be refused. */
  readonly bad: number;
}

export type Actor = keyof Mix;

/** What a run is made of. */
export interface Preset {
  /** Ends after so many requests … */
  readonly requests: number | undefined;
  /** … or seconds, whichever comes first. */
  readonly seconds: number | undefined;
  readonly workers: number;
  /** Requests at a time. */
  readonly concurrency: number;
  /** How often a random worker is killed, milliseconds; 0 is never. */
  readonly killEveryMs: number;
  /** The share of kills that are SIGSTOPs instead: 0 to 1. */
  readonly stopRate: number;
  /** Each time so many requests have gone out, more than the queue takes go out at once; 0 is never. */
  readonly burstEvery: number;
  /** Longest reply, tokens. */
  readonly maxTokens: number;
  readonly mix: Mix;
}

const NOTHING_ELSE: Mix = {
  plain: 100,
  bound: 0,
  slow: 0,
  leavesWaiting: 0,
  leavesStreaming: 0,
  leavesSending: 0,
  bad: 0,
};

/** The longest story of the demo model is shorter. */
const WHOLE_REPLY = 320;

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
  kills: {
    requests: 10_000,
    seconds: undefined,
    workers: 4,
    concurrency: 12,
    killEveryMs: 2_000,
    stopRate: 0,
    burstEvery: 0,
    maxTokens: WHOLE_REPLY,
    mix: NOTHING_ELSE,
  },
  /** 100,000 short requests: what does the server keep of them? */
  soak: {
    requests: 100_000,
    seconds: undefined,
    workers: 4,
    concurrency: 48,
    killEveryMs: 0,
    stopRate: 0,
    burstEvery: 0,
    maxTokens: 2,
    mix: NOTHING_ELSE,
  },
} as const satisfies Record<string, Preset>;

export type PresetName = keyof typeof PRESETS;
