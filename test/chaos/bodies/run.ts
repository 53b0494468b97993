import { once } from 'node:events';
import { connect } from 'node:net';
import fc from 'fast-check';
import { Pool } from 'undici';
import { badBody, type BodyAttempt } from './bodies.js';
import { badWire, KEY_MARK, type WireAttempt } from './wire.js';
import { memoryMib } from '../../harness/processes.js';
import { KEY, ServerProcess } from '../../harness/server-process.js';
import type { BodiesOptions } from '../options.js';

/** Counts replies by kind of attempt and status. */
class Tally {
  readonly #rows = new Map<string, Map<number, number>>();

  add(kind: string, status: number): void {
    const row = this.#rows.get(kind) ?? new Map<number, number>();
    this.#rows.set(kind, row.set(status, (row.get(status) ?? 0) + 1));
  }

  /** A table for people; status 0 stands for no reply. */
  toString(): string {
    const rows = [...this.#rows].sort(([a], [b]) => a.localeCompare(b));
    const statuses = [...new Set(rows.flatMap(([, row]) => [...row.keys()]))].sort((a, b) => a - b);
    const line = (name: string, cells: (number | string)[]) =>
      name.padEnd(14) + cells.map((cell) => String(cell).padStart(9)).join('');
    const heads = statuses.map((status) => (status === 0 ? 'none' : status));
    const sums = statuses.map((status) => rows.reduce((sum, [, row]) => sum + (row.get(status) ?? 0), 0));
    return [
      line('', heads),
      ...rows.map(([kind, row]) =>
        line(
          kind,
          statuses.map((status) => row.get(status) ?? ''),
        ),
      ),
      line('all', sums),
    ].join('\n');
  }
}

/** Error codes from 500 up that are not the server's fault: capacity, and what a small model cannot do. */
const PLANNED = new Set(
  'queue_full,queue_timeout,All providers unavailable,invalid_response,configuration_error,provider_timeout'.split(
    ',',
  ),
);

/** Inside a reply that had begun. */
const BROKEN = /"code":"(internal_error|generation_failed|unavailable|starting|draining)"/;

/** What is wrong with a reply; undefined for one that was planned. */
function fault({ status, text }: Reply): string | undefined {
  if (status < 500) return BROKEN.exec(text)?.[1];
  const code = codeOf(text);
  return PLANNED.has(code) ? undefined : `${status} ${code}`;
}

function codeOf(text: string): string {
  try {
    const { error } = JSON.parse(text.slice(text.indexOf('{'))) as { error: string | { code: string } };
    return typeof error === 'string' ? error : error.code;
  } catch {
    return 'without a code';
  }
}

interface Reply {
  readonly status: number;
  readonly text: string;
}

/** Time for the server to react to raw bytes before the client ends its half, milliseconds. */
const REACTION_MS = 20;

/** A connection still open after this was forgotten by the server, milliseconds. */
const FORGOTTEN_MS = 15_000;

/** Sends attempts to one server. */
class Sender {
  readonly #pool: Pool;

  readonly #port: number;

  constructor(port: number, connections: number) {
    this.#port = port;
    this.#pool = new Pool(`http://127.0.0.1:${port}`, {
      connections,
      pipelining: 4,
      bodyTimeout: 60_000,
      headersTimeout: 60_000,
    });
  }

  /** @throws undici's errors when there is no reply. */
  async send({ route, headers, body }: BodyAttempt): Promise<Reply> {
    const sent = { 'x-api-key': KEY, ...headers };
    const reply = await this.#pool.request({
      method: 'POST',
      path: route,
      headers: sent,
      body,
      idempotent: true,
    });
    return { status: reply.statusCode, text: await reply.body.text() };
  }

  /** All replies, broken ones too. @throws if the server neither serves nor closes the connection */
  async sendWire({ writes, ending }: WireAttempt): Promise<Reply[]> {
    const socket = connect(this.#port, '127.0.0.1').setNoDelay(true).setEncoding('latin1');
    let text = '';
    socket.on('data', (data: string) => (text += data)).on('error', () => undefined);
    const closed = once(socket, 'close');
    await once(socket, 'connect');
    for (const bytes of writes) {
      socket.write(Buffer.from(bytes.toString('latin1').replaceAll(KEY_MARK, KEY), 'latin1'));
      await new Promise(setImmediate);
    }
    if (ending === 'destroy') socket.destroy();
    const thinking = ending === 'end' ? setTimeout(() => socket.end(), REACTION_MS) : undefined;
    const forgotten = setTimeout(() => socket.destroy(new Error('forgotten')), FORGOTTEN_MS);
    await closed;
    clearTimeout(thinking);
    clearTimeout(forgotten);
    if (socket.errored?.message === 'forgotten') throw socket.errored;
    return repliesIn(text);
  }

  async close(): Promise<void> {
    await this.#pool.destroy();
  }
}

function repliesIn(text: string): Reply[] {
  return text
    .split(/^(?=HTTP\/1\.1 \d{3} )/m)
    .filter((part) => part.startsWith('HTTP/1.1 '))
    .map((part) => ({ status: Number(part.slice(9, 12)), text: part }))
    .filter(({ status }) => status >= 200);
}

/** What went wrong, and the smallest attempt that shows it. */
interface Failure {
  readonly reason: string;
  readonly seed: number;
  readonly index: number;
  readonly example: string;
}

interface BodiesResult {
  readonly tally: Tally;
  readonly sent: number;
  readonly seconds: number;
  readonly failure: Failure | undefined;
}

type Attempt = BodyAttempt | WireAttempt;

/** Attempts per seed: enough to make drawing them cheap, few enough to find one again. */
const BATCH = 5_000;

/** One attempt in so many is broken HTTP on its own connection. */
const WIRE_SHARE = 30;

const attempts: fc.Arbitrary<Attempt> = fc.oneof(
  { weight: WIRE_SHARE - 1, arbitrary: badBody },
  { weight: 1, arbitrary: badWire },
);

/** Sends bad requests to a server until all are sent or one of them gets an unplanned reply. */
async function runBodies(
  server: ServerProcess,
  { count, seed, concurrency }: BodiesOptions,
  signal: AbortSignal,
  onProgress: (done: number) => void,
): Promise<BodiesResult> {
  const sender = new Sender(server.port, Math.max(1, Math.ceil(concurrency / 4)));
  const tally = new Tally();
  const began = performance.now();
  let failure: Failure | undefined;
  let sent = 0;
  for (let batch = 0; sent < count && !failure; batch += 1) {
    const batchSeed = seed + batch;
    const drawn = fc.sample(attempts, { seed: batchSeed, numRuns: Math.min(BATCH, count - sent) });
    const found = await sendAll(drawn, concurrency, (attempt) => trial(sender, attempt, tally));
    // Ctrl-C at a terminal has ended the server too.
    if (signal.aborted) break;
    sent += drawn.length;
    const reason = damage(server);
    if (found) failure = await shrunk(sender, batchSeed, found.index, found.reason, drawn[found.index]!);
    else if (reason !== undefined)
      failure = { reason, seed: batchSeed, index: -1, example: 'one of this batch' };
    onProgress(sent);
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

/** The smallest attempt that fails; the attempt itself if it does not fail again by itself. */
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
  const note = again.failed ? '' : ' (not again by itself)';
  return { reason: reason + note, seed, index, example: describe(smallest) };
}

function describe(attempt: Attempt): string {
  const show = (bytes: Buffer) => JSON.stringify(bytes.toString('latin1').slice(0, 2_000));
  if ('route' in attempt)
    return `POST ${attempt.route} ${JSON.stringify(attempt.headers)} ${show(attempt.body)}`;
  return `${attempt.kind}, then ${attempt.ending}: ${attempt.writes.map(show).join(' + ')}`;
}

/** Small enough that bodies which turn out to be valid cost little. */
const SETTINGS = {
  LLM_WORKERS: '2',
  LLM_SLOTS: '4',
  LLM_CTX_SIZE: '256',
  MAX_TOKENS_CAP: '4',
  QUEUE_LIMIT: '1024',
  UNKNOWN_MODEL: 'default',
};

/** Share of the run before memory is taken as the start of its growth: by then, everything lasting is allocated. */
const WARM = 0.1;

/**
 * Sends generated bad requests to a real LMServ and prints what became of them. The exit code is 1 if one got an
 * unplanned 5xx or no reply, or if a worker or the server ended.
 */
export async function main(flags: BodiesOptions, signal: AbortSignal): Promise<void> {
  const server = new ServerProcess({ settings: SETTINGS });
  try {
    await server.untilStarted(Number(SETTINGS.LLM_WORKERS));
    print(`${flags.count} bad requests, seed ${flags.seed}, ${flags.concurrency} at once`);
    const memory = { start: memoryOf(server), warm: 0 };
    const result = await runBodies(server, flags, signal, (done) => {
      if (done >= flags.count * WARM) memory.warm ||= memoryOf(server);
      if (done % 50_000 === 0) print(`${done} sent, server at ${memoryOf(server).toFixed(0)} MiB`);
    });
    report(result, server, memory);
  } finally {
    await server.stop();
  }
}

const memoryOf = ({ pid }: ServerProcess): number => memoryMib(pid, 'VmRSS');

/** What no body may cause: the end of a worker or of the server. */
function damage(server: ServerProcess): string | undefined {
  const { exit } = server;
  if (exit) return `the server ended: ${exit.signal ?? `exit code ${exit.code}`}`;
  const [line] = server.logged('worker_exit');
  return line && JSON.stringify(line);
}

function report(result: BodiesResult, server: ServerProcess, memory: { start: number; warm: number }): void {
  const { tally, sent, seconds, failure } = result;
  print(`\n${tally.toString()}\n`);
  print(`${sent} sent in ${seconds.toFixed(0)} s, ${(sent / seconds).toFixed(0)} per second`);
  const [start, warm, end] = [memory.start, memory.warm, memoryOf(server)].map((mib) => mib.toFixed(0));
  print(`memory of the server: ${start} MiB at the start, ${warm} when warm, ${end} at the end`);
  if (!failure) return print('no unplanned 5xx, no worker or server ended');
  process.exitCode = 1;
  print(`FAILED: ${failure.reason}\nseed ${failure.seed}, number ${failure.index}\n${failure.example}`);
  server.errors.slice(0, 3).forEach((line) => print(JSON.stringify(line)));
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
