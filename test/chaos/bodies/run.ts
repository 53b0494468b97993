import fc from 'fast-check';
import { badBody, type BodyAttempt } from './bodies.js';
import { fault } from './judge.js';
import { Sender } from './send.js';
import { Tally } from './tally.js';
import { badWire, type WireAttempt } from './wire.js';

export interface BodiesOptions {
  /** The server. */
  readonly url: string;
  readonly key: string;
  /** How many attempts. */
  readonly count: number;
  /** The same seed makes the same attempts. */
  readonly seed: number;
  /** Attempts under way at once. */
  readonly concurrency: number;
  /** Ends the run early, with what was found. */
  readonly signal?: AbortSignal;
  /** Says what else is wrong, such as a worker that died; asked after each batch. */
  readonly watch?: () => string | undefined;
  /** Told after each batch. */
  readonly onProgress?: (done: number) => void;
}

/** What went wrong, and the smallest attempt that shows it. */
export interface Failure {
  readonly reason: string;
  readonly seed: number;
  readonly index: number;
  readonly example: string;
}

export interface BodiesResult {
  readonly tally: Tally;
  readonly sent: number;
  readonly seconds: number;
  readonly failure: Failure | undefined;
}

type Attempt = BodyAttempt | WireAttempt;

/** Attempts of one seed: enough to make drawing them cheap, few enough to find one again. */
const BATCH = 5_000;

/** One attempt in so many is broken HTTP on a connection of its own. */
const WIRE_SHARE = 30;

const attempts: fc.Arbitrary<Attempt> = fc.oneof(
  { weight: WIRE_SHARE - 1, arbitrary: badBody },
  { weight: 1, arbitrary: badWire },
);

/** Sends bad requests to a server until all are sent or one of them gets what was not planned. */
export async function runBodies(options: BodiesOptions): Promise<BodiesResult> {
  const { url, key, count, seed, concurrency, signal, watch, onProgress } = options;
  const sender = new Sender(new URL(url), key, Math.max(1, Math.ceil(concurrency / 4)));
  const tally = new Tally();
  const began = performance.now();
  let failure: Failure | undefined;
  let sent = 0;
  for (let batch = 0; sent < count && !failure; batch += 1) {
    const batchSeed = seed + batch;
    const drawn = fc.sample(attempts, { seed: batchSeed, numRuns: Math.min(BATCH, count - sent) });
    const found = await sendAll(drawn, concurrency, (attempt) => trial(sender, attempt, tally));
    // Ctrl-C at a terminal has ended the server too.
    if (signal?.aborted) break;
    sent += drawn.length;
    const reason = watch?.();
    if (found) failure = await shrunk(sender, batchSeed, found.index, found.reason, drawn[found.index]!);
    else if (reason !== undefined)
      failure = { reason, seed: batchSeed, index: -1, example: 'one of this batch' };
    onProgress?.(sent);
  }
  await sender.close();
  return { tally, sent, seconds: (performance.now() - began) / 1000, failure };
}

/** Sends what was drawn, so many at once; the first that fails. */
async function sendAll(
  drawn: readonly Attempt[],
  concurrency: number,
  send: (attempt: Attempt) => Promise<string | undefined>,
): Promise<{ index: number; reason: string } | undefined> {
  let next = 0;
  let found: { index: number; reason: string } | undefined;
  const lane = async () => {
    while (next < drawn.length && !found) {
      const index = next++;
      const reason = await send(drawn[index]!);
      if (reason !== undefined) found ??= { index, reason };
    }
  };
  await Promise.all(Array.from({ length: concurrency }, lane));
  return found;
}

/** Sends one attempt; what is wrong with the reply. */
async function trial(sender: Sender, attempt: Attempt, tally?: Tally): Promise<string | undefined> {
  try {
    const replies = 'route' in attempt ? [await sender.send(attempt)] : await sender.sendWire(attempt);
    for (const { status } of replies) tally?.add(attempt.kind, status);
    if (replies.length === 0) tally?.add(attempt.kind, 0);
    if ('mostReplies' in attempt && replies.length > attempt.mostReplies)
      return `${replies.length} replies to ${attempt.mostReplies} requests`;
    return replies.map(fault).find((found) => found !== undefined);
  } catch (error) {
    return `no reply: ${(error as Error).message}`;
  }
}

/** The smallest attempt that fails; the one itself when it does not fail again on its own. */
async function shrunk(
  sender: Sender,
  seed: number,
  index: number,
  reason: string,
  attempt: Attempt,
): Promise<Failure> {
  const again = await fc.check(
    fc.asyncProperty(attempts, async (tried) => (await trial(sender, tried)) === undefined),
    { seed, path: String(index), numRuns: index + 1, endOnFailure: false, interruptAfterTimeLimit: 60_000 },
  );
  const [smallest] = again.counterexample ?? [attempt];
  const note = again.failed ? '' : ' (not again on its own)';
  return { reason: reason + note, seed, index, example: describe(smallest) };
}

function describe(attempt: Attempt): string {
  const show = (bytes: Buffer) => JSON.stringify(bytes.toString('latin1').slice(0, 2_000));
  if ('route' in attempt)
    return `POST ${attempt.route} ${JSON.stringify(attempt.headers)} ${show(attempt.body)}`;
  return `${attempt.kind}, then ${attempt.ending}: ${attempt.writes.map(show).join(' + ')}`;
}
