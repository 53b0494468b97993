import { UserError } from '../../src/errors.js';
import { setTimeout as sleep } from 'node:timers/promises';
import { exchange } from './exchange.js';
import { type AtRest, countRetries, type Ending, type Findings, MemoryWatch, type Slots } from './figures.js';
import { judge, References } from './judge.js';
import { Load } from './load.js';
import type { ChaosOptions } from './options.js';
import { catalogue, type Plan, planOf, questionCall, STREAM } from './plan.js';
import { childrenOf, descriptorsOf, stillLlama } from '../harness/processes.js';
import { type Form, REFERENCE_ROUTES, STREAMED_ROUTES } from './routes.js';
import { type LoggedServer, type LoggedWorker, ServerProcess } from '../harness/server-process.js';
import { Tally } from './tally.js';
import { Random } from '../harness/random.js';

/** A longer reply is only rambling, characters; the stories have up to 1,200. */
const LONGEST = 1_400;

interface Recording {
  readonly references: References;
  /** The questions with a reply in every form. */
  readonly questions: readonly string[];
}

/** Asks every question in every form before anything is broken. @throws UserError if one gets no whole reply. */
async function recordReplies(
  port: number,
  { seed, maxTokens, workers }: ChaosOptions,
  { questions, signal }: RunOptions,
): Promise<Recording> {
  const references = new References();
  const all = catalogue(new Random(seed, STREAM.questions)).slice(0, questions);
  const kept = new Set<string>();
  const left = all.values();
  const client = async (): Promise<void> => {
    for (const question of left) {
      signal.throwIfAborted();
      if (await recordQuestion(question, references, port, maxTokens)) kept.add(question);
    }
  };
  // One at a time for each worker, so that nothing waits.
  await Promise.all(Array.from({ length: workers }, client));
  if (kept.size === 0) throw new UserError('the model has replied to none of the questions');
  return { references, questions: all.filter((question) => kept.has(question)) };
}

async function recordQuestion(question: string, references: References, port: number, maxTokens: number) {
  const texts: [Form, string][] = [];
  for (const form of Object.keys(REFERENCE_ROUTES) as Form[])
    texts.push([form, await undisturbed(form, question, port, maxTokens)]);
  if (texts.some(([, text]) => text === '' || text.length > LONGEST)) return false;
  for (const [form, text] of texts) references.add(form, question, text);
  return true;
}

async function undisturbed(form: Form, question: string, port: number, maxTokens: number) {
  const route = REFERENCE_ROUTES[form];
  const seen = await exchange(port, questionCall(route, question, maxTokens));
  const reply = seen.status === 200 ? route.read(seen) : undefined;
  if (reply?.end === 'whole') return reply.text;
  throw new UserError(`the undisturbed server gave no whole reply on ${route.path}: status ${seen.status}`);
}

/** Kills or stops a random worker again and again, and measures how soon the server notices. */
class Killer {
  /** From each SIGKILL to the server's log line, by the time of that line, so that only the server is judged. */
  readonly noticedMs: number[] = [];
  /** From each SIGSTOP to the end of the worker, milliseconds. */
  readonly hangMs: number[] = [];
  kills = 0;
  stops = 0;
  readonly #server: LoggedServer;
  readonly #options: ChaosOptions;
  readonly #random: Random;
  readonly #stopped = new Set<number>();
  #timer: NodeJS.Timeout | undefined;

  constructor(server: LoggedServer, options: ChaosOptions) {
    this.#server = server;
    this.#options = options;
    this.#random = new Random(options.seed, STREAM.kills);
  }

  start(): void {
    const { killEveryMs } = this.#options;
    if (killEveryMs > 0) this.#timer = setInterval(() => this.#strike(), killEveryMs);
  }

  /** Ends the strikes and continues the workers that were stopped while idle: no deadline runs for them. */
  stop(): void {
    clearInterval(this.#timer);
    for (const pid of this.#stopped) signalLlama(pid, 'SIGCONT');
    this.#stopped.clear();
  }

  /** Draws the same numbers each time, no matter which workers live. */
  #strike(): void {
    const stop = this.#random.chance(this.#options.stopRate);
    const share = this.#random.next();
    const living = this.#server.workers.filter(
      ({ pid, ready }) => !this.#stopped.has(pid) && (ready || !stop),
    );
    const worker = living[Math.floor(share * living.length)];
    if (worker === undefined) return;
    if (stop) this.#stop(worker);
    else this.#kill(worker);
  }

  #kill({ pid }: LoggedWorker): void {
    const at = Date.now();
    if (!signalLlama(pid, 'SIGKILL')) return;
    this.kills += 1;
    void this.#noticed(pid, at).then((ms) => this.noticedMs.push(ms));
  }

  #stop({ pid }: LoggedWorker): void {
    const at = Date.now();
    if (!signalLlama(pid, 'SIGSTOP')) return;
    this.stops += 1;
    this.#stopped.add(pid);
    void this.#noticed(pid, at).then((ms) => {
      if (this.#stopped.delete(pid)) this.hangMs.push(ms);
    });
  }

  /** Resolves with the milliseconds until the server logged the exit. */
  async #noticed(pid: number, at: number): Promise<number> {
    const { time } = await this.#server.next('worker_exit', (line) => line.pid === pid);
    return Date.parse(time) - at;
  }
}

/** false if the process is gone: its id may be another's by now. */
function signalLlama(pid: number, signal: NodeJS.Signals): boolean {
  return stillLlama([pid]).length === 1 && process.kill(pid, signal);
}

/** Milliseconds between two checks. */
const PROBE_EVERY_MS = 250;

/** Checks the server's health while it works. */
class HealthProbe {
  /** How long each check took, milliseconds. */
  readonly times: number[] = [];
  /** Checks that got neither 200 nor 503. */
  failures = 0;
  readonly #open = new Set<Promise<void>>();
  #timer: NodeJS.Timeout | undefined;

  readonly #port: number;

  constructor(port: number) {
    this.#port = port;
  }

  start(): void {
    this.#timer = setInterval(() => {
      const check: Promise<void> = this.#check().finally(() => this.#open.delete(check));
      this.#open.add(check);
    }, PROBE_EVERY_MS);
  }

  /** Resolves when the last check has ended. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#open);
  }

  async #check(): Promise<void> {
    const { status, ms } = await exchange(this.#port, { method: 'GET', path: '/health' });
    // 503 means that all workers are gone at the moment, which may well be true.
    if (status === 200 || status === 503) this.times.push(ms);
    else this.failures += 1;
  }
}

/** How long the server may take until its slots are as expected, milliseconds. */
const IDLE_PATIENCE_MS = 15_000;
const LOOK_EVERY_MS = 50;

/** Waits until every slot of every worker is free, for 15 s at most; how many are. */
function untilIdle(port: number): Promise<Slots> {
  return untilSlots(port, ({ idle, total }) => idle === total);
}

/** Waits until no slot is free, for 15 s at most. */
function untilAllBusy(port: number): Promise<Slots> {
  return untilSlots(port, ({ idle }) => idle === 0);
}

async function untilSlots(port: number, fits: (slots: Slots) => boolean): Promise<Slots> {
  const until = performance.now() + IDLE_PATIENCE_MS;
  for (;;) {
    const slots = await readSlots(port);
    if (fits(slots) || performance.now() > until) return slots;
    await sleep(LOOK_EVERY_MS);
  }
}

async function readSlots(port: number): Promise<Slots> {
  const { body, complete } = await exchange(port, { method: 'GET', path: '/ready' });
  return complete ? (JSON.parse(body) as { slots: Slots }).slots : { total: NaN, idle: NaN };
}

/** More than a worker generates within the grace. */
const ENDLESS_TOKENS = 4_000;

/** How long after the grace the server may still be there before it is killed, milliseconds. */
const PATIENCE_MS = 10_000;

/** When a request comes too late, milliseconds after SIGTERM. */
const LATE_MS = 100;

/** SIGTERM in the middle of streams that have more to send than the grace allows, and one request that comes too late. */
async function endServer(
  server: ServerProcess,
  workers: number,
  send: (plan: Plan) => Promise<void>,
): Promise<Ending> {
  const open = Array.from({ length: 2 * workers }, () => send(endless()));
  await untilAllBusy(server.port);
  const began = performance.now();
  server.signal('SIGTERM');
  await Promise.race([sleep(LATE_MS), server.exited]);
  if (server.exit === undefined) open.push(send(endless()));
  const timer = setTimeout(() => server.signal('SIGKILL'), GRACE_MS + PATIENCE_MS);
  const exit = await server.exited;
  clearTimeout(timer);
  const ms = performance.now() - began;
  await Promise.all(open);
  const orphans = stillLlama(server.spawnedPids());
  // Whatever the server does, the run leaves nothing behind.
  for (const pid of orphans) process.kill(pid, 'SIGKILL');
  return { ...exit, ms, orphans };
}

/** A reply that continues after the model's own end. */
function endless(): Plan {
  const route = STREAMED_ROUTES.find(({ path }) => path === '/v1/chat/completions')!;
  const body = { ...route.body('Tell me a story', ENDLESS_TOKENS), ignore_eos: true };
  return {
    actor: 'plain',
    call: { method: 'POST', path: route.path, body: JSON.stringify(body) },
    manner: { kind: 'patient' },
    asked: { kind: 'open', route },
  };
}

interface RunOptions {
  /** Max questions; recording their replies takes a while. */
  readonly questions?: number;
  /** Ends the load early; what has been found is returned. */
  readonly signal: AbortSignal;
  /** A new part of the run begins. */
  readonly onStep?: (text: string) => void;
  /** The share of the load that is done, 0 to 1. */
  readonly onProgress?: (share: number, detail: string) => void;
}

/** Milliseconds. */
const GRACE_MS = 3_000;
const HANG_MS = 2_000;
const REST_MS = 1_000;
const PROGRESS_MS = 500;

const QUEUE_LIMIT = 64;

/** More than the slots and the queue take. */
const BEYOND_QUEUE = 36;

/** The share of the load after which the server is measured for the first time. */
const WARM_UP = 0.1;

/** Settings that give up a worker without progress after this time. */
export const progressDeadlines = (ms: number) => ({
  FIRST_TOKEN_TIMEOUT_SECS: String(ms / 1_000),
  TOKEN_TIMEOUT_SECS: String(ms / 1_000),
});

/** How long a worker may make no progress; undefined leaves it to the server, milliseconds. */
const hangLimit = ({ stopRate }: ChaosOptions) => (stopRate > 0 ? HANG_MS : undefined);

/** Starts a server, breaks it under load, ends it. @throws UserError if it does not start. */
export async function runChaos(options: ChaosOptions, run: RunOptions): Promise<Findings> {
  const hangMs = hangLimit(options);
  run.onStep?.(`Starting a server with ${options.workers} workers`);
  const server = new ServerProcess({
    // Ctrl-C is meant for the run, which ends the server in good order.
    detached: true,
    settings: {
      LLM_WORKERS: String(options.workers),
      QUEUE_LIMIT: String(QUEUE_LIMIT),
      SHUTDOWN_GRACE_SECS: String(GRACE_MS / 1_000),
      ...(hangMs === undefined ? {} : progressDeadlines(hangMs)),
    },
  });
  await server.untilStarted(options.workers);
  try {
    run.onStep?.('Recording the undisturbed replies');
    const recording = await recordReplies(server.port, options, run);
    const { references, questions } = recording;
    const { size, distinct } = references;
    run.onStep?.(`${questions.length} questions, ${size} replies, ${distinct} of them unique`);
    return await new Chaos(server, options, run, recording).run();
  } finally {
    await server.kill();
  }
}

class Chaos {
  readonly #tally = new Tally();
  readonly #killer: Killer;
  readonly #probe: HealthProbe;
  readonly #load: Load;
  readonly #memory = new MemoryWatch();
  #loadMs = 0;

  readonly #server: ServerProcess;
  readonly #options: ChaosOptions;
  readonly #context: RunOptions;
  readonly #recording: Recording;

  constructor(server: ServerProcess, options: ChaosOptions, context: RunOptions, recording: Recording) {
    this.#server = server;
    this.#options = options;
    this.#context = context;
    this.#recording = recording;
    const { workers, concurrency, burstEvery } = options;
    this.#killer = new Killer(server, options);
    this.#probe = new HealthProbe(server.port);
    this.#load = new Load({
      concurrency,
      burstEvery,
      burstSize: workers + QUEUE_LIMIT + BEYOND_QUEUE,
      send: (index) => this.#send(planOf(index, { ...options, questions: recording.questions }), index),
    });
  }

  async run(): Promise<Findings> {
    this.#context.onStep?.('Breaking it');
    await this.#under(WARM_UP);
    const before = await this.#atRest();
    await this.#under(1);
    const after = await this.#atRest();
    const zombies = this.#ended() ? undefined : zombiesOf(this.#server.pid);
    this.#context.onStep?.('Ending it');
    return this.#findings({ before, after, zombies, ending: await this.#end() });
  }

  /** Sends requests and breaks things until that share of the run is done. */
  async #under(share: number): Promise<void> {
    const began = performance.now() - this.#loadMs;
    const note = () => {
      this.#loadMs = performance.now() - began;
      this.#memory.look(this.#server.pid, this.#share());
      this.#context.onProgress?.(this.#share(), this.#detail());
    };
    const ticker = setInterval(note, PROGRESS_MS);
    this.#killer.start();
    this.#probe.start();
    await this.#load.run(() => {
      this.#loadMs = performance.now() - began;
      return this.#share() < share && !this.#context.signal.aborted && !this.#ended();
    });
    this.#killer.stop();
    await this.#probe.stop();
    clearInterval(ticker);
    note();
  }

  /** How much of the run is done, by requests or by time, whichever is further. */
  #share(): number {
    const { requests = Infinity, seconds = Infinity } = this.#options;
    return Math.max(this.#load.sent / requests, this.#loadMs / (seconds * 1000));
  }

  #detail(): string {
    const { admitted, outcomes } = this.#tally;
    return `${admitted} requests, ${this.#killer.kills + this.#killer.stops} faults, ${outcomes.lost} lost`;
  }

  async #send(plan: Plan, index: number): Promise<void> {
    this.#tally.admit();
    const seen = await exchange(this.#server.port, plan.call, plan.manner);
    this.#tally.add(index, plan, judge(plan.asked, seen, this.#recording.references), seen.ms);
  }

  async #atRest(): Promise<AtRest | undefined> {
    if (this.#ended()) return undefined;
    const slots = await untilIdle(this.#server.port);
    await Promise.race([sleep(REST_MS), this.#server.exited]);
    if (this.#ended()) return undefined;
    return { slots, descriptors: descriptorsOf(this.#server.pid) };
  }

  #ended(): boolean {
    return this.#server.exit !== undefined;
  }

  async #end(): Promise<Ending | undefined> {
    if (this.#ended()) return undefined;
    const send = (plan: Plan) => this.#send(plan, this.#load.sent);
    return endServer(this.#server, this.#options.workers, send);
  }

  #findings(rest: Pick<Findings, 'before' | 'after' | 'zombies' | 'ending'>): Findings {
    return {
      ...rest,
      options: this.#options,
      tally: this.#tally,
      memory: this.#memory.floors,
      hangMs: hangLimit(this.#options),
      graceMs: GRACE_MS,
      loadMs: this.#loadMs,
      kills: this.#killer.kills,
      noticedMs: this.#killer.noticedMs,
      stops: this.#killer.stops,
      hungMs: this.#killer.hangMs,
      healthMs: this.#probe.times,
      healthFailures: this.#probe.failures,
      ...countRetries(this.#server),
      errors: this.#server.errors,
    };
  }
}

/** Ended children of a process that it has not reaped. */
const zombiesOf = (parent: number): number => childrenOf(parent).filter(({ state }) => state === 'Z').length;
