import { BenchError } from '../errors.js';
import { fetchReply } from '../load/reply.js';
import { withOwned } from '../program.js';
import { BenchServer, type ServerOptions } from '../server.js';
import type { LogLine } from '../server-log.js';
import { lmservOpenai } from '../targets/lmserv.js';
import { jobFor, nextPrompts } from '../targets/target.js';

/** When each stage of a start was reached, milliseconds since the command was given. */
export interface StartTimes {
  /** LMServ's code runs: its first log line. What npm and loading the code take is before. */
  readonly running: number;
  readonly listening: number;
  readonly firstReady: number;
  readonly firstToken: number;
  readonly allReady: number;
}

export const STAGES = ['running', 'listening', 'firstReady', 'firstToken', 'allReady'] as const;

const TOKENS = 8;

/** Between two attempts of the first request, milliseconds. */
const RETRY_MS = 2;

/** Starts LMServ, asks as soon as it listens until it answers, and stops it again. @throws as BenchServer.start */
export function timeStart(options: ServerOptions): Promise<StartTimes> {
  return withOwned(async (own) => {
    const began = Date.now();
    const server = own(await BenchServer.spawn(options));
    await server.until('listening', options.signal);
    const firstToken = await untilFirstToken(server, options.signal);
    await server.until('worker_ready', options.signal, Number(options.settings.LLM_WORKERS ?? 1));
    const since = (line: LogLine | undefined) => Date.parse(line!.time) - began;
    const ready = server.log.of('worker_ready');
    return {
      running: since(server.log.first),
      listening: since(server.log.of('listening')[0]),
      firstReady: since(ready[0]),
      firstToken: firstToken - began,
      allReady: since(ready.at(-1)),
    };
  });
}

/** As an impatient client: again and again while the answer is 503. @returns the time, as Date.now tells it. */
async function untilFirstToken(server: BenchServer, signal: AbortSignal): Promise<number> {
  const job = jobFor(lmservOpenai(server), nextPrompts(1), TOKENS, 1);
  for (;;) {
    signal.throwIfAborted();
    const asked = Date.now();
    const { tokens, error } = await fetchReply(job, job.bodies[0]!);
    if (error === undefined) return asked + tokens[0]!;
    if (error !== 'status 503') throw new BenchError(`the first request failed: ${error}`);
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}
