import { setTimeout as sleep } from 'node:timers/promises';
import { exchange } from './exchange.js';
import type { AtRest, Findings } from './figures.js';
import { HealthProbe } from './health-probe.js';
import { judge } from './judge.js';
import { Killer } from './killer.js';
import { Load } from './load.js';
import { MemoryWatch } from './memory.js';
import type { ChaosOptions } from './options.js';
import { planOf, STREAM, type Plan } from './plan.js';
import { descriptors, zombiesOf } from './processes.js';
import { catalogue } from './prompts.js';
import { Random } from './random.js';
import { recordReplies, type Recording } from './record.js';
import { Server } from './server.js';
import { untilIdle } from './settle.js';
import { endServer, type Ending } from './shutdown.js';
import { Tally } from './tally.js';

export interface RunOptions {
  /** The checkout, compiled. */
  readonly root: string;
  /** Asks no more than so many of the questions; recording their replies takes a while. */
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

/** Starts a server, breaks it while it is asked, ends it. @throws ChaosError when it cannot even begin. */
export async function runChaos(options: ChaosOptions, run: RunOptions): Promise<Findings> {
  const hangMs = options.stopRate > 0 ? HANG_MS : undefined;
  run.onStep?.(`Starting a server with ${options.workers} workers`);
  const server = await Server.start({
    root: run.root,
    workers: options.workers,
    hangMs,
    queueLimit: QUEUE_LIMIT,
    graceMs: GRACE_MS,
  });
  try {
    const recording = await record(server, options, run);
    return await new Chaos(server, options, run, recording, hangMs).run();
  } finally {
    if (server.exit === undefined) server.signal('SIGKILL');
    await server.exited;
  }
}

async function record(server: Server, options: ChaosOptions, run: RunOptions): Promise<Recording> {
  run.onStep?.('Recording the undisturbed replies');
  const recording = await recordReplies({
    target: server.target,
    questions: catalogue(new Random(options.seed, STREAM.questions)).slice(0, run.questions),
    maxTokens: options.maxTokens,
    concurrency: options.workers,
    signal: run.signal,
  });
  const { references, questions } = recording;
  run.onStep?.(
    `${questions.length} questions, ${references.size} replies, ${references.distinct} of them like no other`,
  );
  return recording;
}

class Chaos {
  readonly #tally = new Tally();
  readonly #killer: Killer;
  readonly #probe: HealthProbe;
  readonly #load: Load;
  readonly #memory = new MemoryWatch();
  #loadMs = 0;

  constructor(
    private readonly server: Server,
    private readonly options: ChaosOptions,
    private readonly context: RunOptions,
    private readonly recording: Recording,
    private readonly hangMs: number | undefined,
  ) {
    const { seed, killEveryMs, stopRate, workers, concurrency, burstEvery } = options;
    const random = new Random(seed, STREAM.kills);
    this.#killer = new Killer({ log: server.log, random, everyMs: killEveryMs, stopRate });
    this.#probe = new HealthProbe(server.target);
    this.#load = new Load({
      concurrency,
      burstEvery,
      burstSize: workers + QUEUE_LIMIT + BEYOND_QUEUE,
      send: (index) => this.#send(planOf(index, { ...options, questions: recording.questions }), index),
    });
  }

  async run(): Promise<Findings> {
    this.context.onStep?.('Breaking it');
    await this.#under(WARM_UP);
    const before = await this.#atRest();
    await this.#under(1);
    const after = await this.#atRest();
    const zombies = this.#ended() ? undefined : zombiesOf(this.server.pid);
    this.context.onStep?.('Ending it');
    return this.#findings({ before, after, zombies, ending: await this.#end() });
  }

  /** Sends requests and breaks things until that share of the run is done. */
  async #under(share: number): Promise<void> {
    const began = performance.now() - this.#loadMs;
    const note = () => {
      this.#loadMs = performance.now() - began;
      this.#memory.look(this.server.pid, this.#share());
      this.context.onProgress?.(this.#share(), this.#detail());
    };
    const ticker = setInterval(note, PROGRESS_MS);
    this.#killer.start();
    this.#probe.start();
    await this.#load.run(() => {
      this.#loadMs = performance.now() - began;
      return this.#share() < share && !this.context.signal.aborted && !this.#ended();
    });
    this.#killer.stop();
    await this.#probe.stop();
    clearInterval(ticker);
    note();
  }

  /** How much of the run is done, by requests or by time, whichever is further. */
  #share(): number {
    const { requests = Infinity, seconds = Infinity } = this.options;
    return Math.max(this.#load.sent / requests, this.#loadMs / (seconds * 1000));
  }

  #detail(): string {
    const { admitted, outcomes } = this.#tally;
    return `${admitted} requests, ${this.#killer.kills + this.#killer.stops} faults, ${outcomes.lost} lost`;
  }

  async #send(plan: Plan, index: number): Promise<void> {
    this.#tally.admit();
    const seen = await exchange(this.server.target, plan.call, plan.manner);
    this.#tally.add(index, plan, judge(plan.asked, seen, this.recording.references), seen.ms);
  }

  async #atRest(): Promise<AtRest | undefined> {
    if (this.#ended()) return undefined;
    const slots = await untilIdle(this.server.target);
    await Promise.race([sleep(REST_MS), this.server.exited]);
    if (this.#ended()) return undefined;
    return { slots, descriptors: descriptors(this.server.pid) };
  }

  #ended(): boolean {
    return this.server.exit !== undefined;
  }

  async #end(): Promise<Ending | undefined> {
    if (this.#ended()) return undefined;
    const { server, options } = this;
    const send = (plan: Plan) => this.#send(plan, this.#load.sent);
    return endServer({ server, graceMs: GRACE_MS, workers: options.workers, send });
  }

  #findings(rest: Pick<Findings, 'before' | 'after' | 'zombies' | 'ending'>): Findings {
    const { log } = this.server;
    return {
      ...rest,
      options: this.options,
      tally: this.#tally,
      memory: this.#memory.floors,
      hangMs: this.hangMs,
      graceMs: GRACE_MS,
      loadMs: this.#loadMs,
      kills: this.#killer.kills,
      noticedMs: this.#killer.noticedMs,
      stops: this.#killer.stops,
      hungMs: this.#killer.hangMs,
      healthMs: this.#probe.times,
      healthFailures: this.#probe.failures,
      resumed: log.resumed,
      retried: log.retried,
      errors: log.errors,
    };
  }
}
