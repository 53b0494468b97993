import { BenchError } from '../errors.js';
import type { Stoppable } from '../program.js';
import type { BenchServer } from '../server.js';
import { bare } from '../targets/bare.js';
import { direct, lmservChat, lmservOpenai } from '../targets/lmserv.js';
import { nginx } from '../targets/nginx.js';
import { portkey } from '../targets/portkey.js';
import type { Target } from '../targets/target.js';

type Start = (server: BenchServer, signal: AbortSignal) => Promise<Target>;

/** What is compared with the worker's own endpoint, in the order of the table. */
const TARGETS: Readonly<Record<string, Start>> = {
  nginx: (server, signal) => nginx(direct(server), signal),
  bare: (server, signal) => bare(direct(server), signal),
  'lmserv-chat': async (server) => lmservChat(server),
  'lmserv-openai': async (server) => lmservOpenai(server),
  portkey: (server, signal) => portkey(direct(server), signal),
};

export const TARGET_NAMES = Object.keys(TARGETS);

export interface Started {
  readonly direct: Target;
  readonly others: readonly Target[];
  /** Why targets are left out. */
  readonly missing: readonly string[];
}

/** Starts what was asked for; a target that cannot be had here is left out and named. */
export async function startTargets(
  names: readonly string[],
  server: BenchServer,
  own: <S extends Stoppable>(started: S) => S,
  signal: AbortSignal,
): Promise<Started> {
  const others: Target[] = [];
  const missing: string[] = [];
  for (const name of names) {
    try {
      others.push(own(await TARGETS[name]!(server, signal)));
    } catch (error) {
      if (!(error instanceof BenchError)) throw error;
      missing.push(`${name} is left out: ${error.message}`);
    }
  }
  return { direct: direct(server), others, missing };
}
