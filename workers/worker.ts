import { Agent } from 'node:http';
import type { DeviceMemory, Offload, WorkerExitCause } from '../src/contract.js';
import { within } from '../src/time.js';
import { toJson } from '../src/wire/images.js';
import { LivenessProbe } from './liveness-probe.js';
import { LlamaChild, type ExitStatus } from './child.js';
import { describeExit, classifyExit, isIntended, type WorkerExit } from './exit.js';
import { WorkerFailure } from './failure.js';
import { LoadReport } from './load-report.js';
import type { ChildOptions, Endpoint } from './options.js';
import { ProgressWatch, type Activity } from './progress.js';
import { areSlotsAdvancing } from './slot-progress.js';
import { ConnectionLost, fetchJson, postStream, type StreamOptions } from './child-http.js';

export type WorkerState = 'starting' | 'ready' | 'draining' | 'dead';

export interface WorkerOptions extends ChildOptions {
  readonly timeouts: WorkerTimeouts;
}

/** Max times without progress, milliseconds. */
export interface WorkerTimeouts {
  /** While the model loads; every log line is progress. */
  readonly startMs: number;
  /** Until the first token; every batch of the prompt is progress. */
  readonly firstTokenMs: number;
  /** Between tokens, and for a reply without any. */
  readonly tokenMs: number;
}

/** Events for the pool, which logs and counts; a worker has no logger. */
export interface WorkerEvents {
  /** The worker takes requests. */
  onReady(worker: Worker): void;
  /** The number of free slots changed for a reason other than a lease. */
  onChange(worker: Worker): void;
  /** Is waited for before a process that takes no more requests is ended in good order. Never rejects. */
  onEnding?: ((worker: Worker) => Promise<void>) | undefined;
  /** The process is gone. */
  onExit(worker: Worker, exit: WorkerExit): void;
}

/** What a child says of itself; nothing of it has been checked. */
export interface WorkerProps {
  readonly modalities?: { readonly vision?: boolean };
  readonly chat_template?: string;
  readonly build_info?: string;
  readonly total_slots?: number;
}

/** Max characters of stderr reported with a failure. */
const STDERR_SNIPPET = 2_048;

/** Max time from the broken connection to the child's exit, milliseconds. */
const EXIT_LAG_MS = 500;

/** Short, because at shutdown the worker has nothing to lose and the server little time. Milliseconds. */
const SHUTDOWN_GRACE_MS = 500;

/** Max time for a probe, milliseconds. A machine too slow for one token in that time is treated as failed. */
const LONGEST_CHECK_MS = 5_000;

const HUNG = 'hung: no progress within the deadline';

const LISTENING = /\blistening on (?:http:\/\/127\.0\.0\.1:(\d+))?/;

/**
 * A persistent llama.cpp process and everything needed to use it: starting → ready → draining → dead. It monitors its
 * progress, kills itself when it hangs, and counts the leases that the pool takes with `tryLease`.
 */
export class Worker {
  readonly child: LlamaChild;
  /** Of `performance.now()`. */
  readonly startedAt = performance.now();
  /** Resolves when the worker takes requests; rejects with a WorkerFailure if it never will. */
  readonly ready: Promise<void>;
  #state: WorkerState = 'starting';
  #endpoint: Endpoint | undefined;
  #leased = 0;
  #served = 0;
  #wasReady = false;
  #ending: Promise<void> | undefined;
  #props: WorkerProps | undefined;
  readonly #load = new LoadReport();
  #cause: WorkerExitCause | undefined;
  #reason: string | undefined;
  #exit: WorkerExit | undefined;
  readonly #events: WorkerEvents;
  readonly #probe: LivenessProbe;
  #watchTimer: NodeJS.Timeout | undefined;
  readonly #watch: ProgressWatch;
  /** Lets the replies go on that clients hold back. */
  readonly #held = new Set<() => void>();
  /** Owns the connections of all replies; each has its own. */
  readonly #agent = new Agent({ keepAlive: false });

  constructor(
    readonly id: string,
    readonly options: WorkerOptions,
    env: NodeJS.ProcessEnv,
    events: WorkerEvents,
  ) {
    this.#events = events;
    const { firstTokenMs, tokenMs } = options.timeouts;
    this.#watch = new ProgressWatch({ prefill: firstTokenMs, decode: tokenMs });
    this.#probe = new LivenessProbe({
      timeoutMs: Math.min(LONGEST_CHECK_MS, tokenMs),
      task: options.task,
      onChange: () => events.onChange(this),
      onLost: () => this.kill('hung', 'hung: it does not reply to probes'),
    });
    let foundEndpoint!: (endpoint: Endpoint) => void;
    const listening = new Promise<Endpoint>((resolve) => (foundEndpoint = resolve));
    let silence: NodeJS.Timeout | undefined;
    const resetSilence = () => {
      clearTimeout(silence);
      silence = setTimeout(() => this.#giveUpStart(), options.timeouts.startMs);
    };
    this.child = new LlamaChild(options, env, (line) => {
      if (this.#state !== 'starting') return;
      resetSilence();
      this.#load.add(line);
      const match = LISTENING.exec(line);
      const endpoint = match && (this.child.listen ?? (match[1] ? { port: Number(match[1]) } : undefined));
      if (endpoint) foundEndpoint(endpoint);
    });
    resetSilence();
    void this.child.exited.then((status) => this.#onExit(status));
    const died = this.child.exited.then((status) => {
      throw new WorkerFailure(
        'start_failed',
        `the worker did not start: ${this.#reason ?? this.#describe(status)}`,
        this.child.stderr.since(0, STDERR_SNIPPET),
      );
    });
    this.ready = Promise.race([this.#becomeReady(listening), died]).finally(() => clearTimeout(silence));
    // The pool learns of a failed start from onExit; an unawaited `ready` must not crash the process.
    this.ready.catch(() => undefined);
  }

  get state(): WorkerState {
    return this.#state;
  }

  get pid(): number | undefined {
    return this.child.pid;
  }

  /** Whether the model has a projector for images. */
  get supportsImages(): boolean {
    return this.#props?.modalities?.vision === true;
  }

  /** What it said of itself; undefined until it is loaded. */
  get props(): WorkerProps | undefined {
    return this.#props;
  }

  /** What its model takes, by device; empty until it is loaded, or if llama.cpp does not say. */
  get memory(): readonly DeviceMemory[] {
    return this.#load.memory(this.options.gpu);
  }

  /** Its layers on GPUs; undefined until it is loaded, or if llama.cpp does not say. */
  get offload(): Offload | undefined {
    return this.#wasReady ? this.#load.offload(this.options) : undefined;
  }

  /** Slots in use. */
  get leased(): number {
    return this.#leased;
  }

  /** Requests finished since its start. */
  get served(): number {
    return this.#served;
  }

  /** Whether it missed a check and takes no requests until it passes one. */
  get suspected(): boolean {
    return this.#probe.suspected;
  }

  /** Slots that can be leased now. */
  get free(): number {
    return this.#state === 'ready' && !this.suspected ? this.options.slots - this.#leased : 0;
  }

  /**
   * Takes a slot if one is free. The returned function gives the slot back; its argument says whether the request was
   * served to its end. Further calls have no effect.
   */
  tryLease(): ((served: boolean) => void) | undefined {
    if (this.free === 0) return undefined;
    this.#leased += 1;
    let held = true;
    return (served) => {
      if (!held) return;
      held = false;
      this.#leased -= 1;
      if (served) this.#served += 1;
      if (this.#leased === 0 && this.#state === 'draining') void this.#end();
    };
  }

  /**
   * Checks whether the worker still replies, and kills it after three misses. A worker in use is monitored by its
   * progress instead. Generating a token would cost a worker its cached prefix, so only one that is suspect or has no
   * prefix yet is checked that way.
   */
  async check(): Promise<void> {
    if (this.#state !== 'ready' || this.#leased > 0 || !this.#endpoint) return;
    await this.#probe.check(this.#endpoint, this.#served === 0);
  }

  /** Takes no requests until it has passed a probe. */
  suspect(): void {
    if (this.#state !== 'ready' || !this.#endpoint) return;
    this.#probe.suspect();
    void this.#probe.check(this.#endpoint, true);
  }

  /** Refuses new requests, finishes the running ones and ends. */
  retire(): void {
    if (this.#state !== 'ready') return;
    this.#state = 'draining';
    this.#cause ??= 'recycled';
    this.#events.onChange(this);
    if (this.#leased === 0) void this.#end();
  }

  /**
   * Sends a request to the child, passes each event of its reply to `reply`, prefill progress included, and resolves at
   * its end.
   *
   * @throws ChildRefusal when the child rejects the request, WorkerFailure when it dies or hangs, what `reply` throws,
   *   the signal's reason when it aborts.
   */
  async generate(
    path: string,
    body: object,
    { signal, flow, reply }: Omit<StreamOptions, 'activity' | 'agent' | 'held'>,
  ): Promise<void> {
    const text = toJson({ ...body, stream: true, return_progress: true });
    await this.#watched((endpoint, activity) =>
      postStream(endpoint, path, text, {
        signal,
        flow,
        reply,
        activity,
        held: this.#held,
        agent: this.#agent,
      }),
    );
  }

  /** Posts a request that is answered as a whole once its input is evaluated. @throws as `generate`. */
  async evaluate(path: string, body: object, signal: AbortSignal): Promise<unknown> {
    const text = JSON.stringify(body);
    return this.#watched((endpoint) => fetchJson(endpoint, 'POST', path, text, signal, this.#agent));
  }

  /** Fetches a JSON document from the child, such as `/props`. @throws as `generate`. */
  async fetch(
    method: 'GET' | 'POST',
    path: string,
    body: object | undefined,
    signal: AbortSignal,
  ): Promise<unknown> {
    if (!this.#endpoint) throw new WorkerFailure('died', 'the worker is gone', '');
    const text = body && toJson({ ...body });
    const mark = this.child.stderr.position();
    const limit = AbortSignal.timeout(this.options.timeouts.tokenMs);
    try {
      return await fetchJson(this.#endpoint, method, path, text, AbortSignal.any([signal, limit]));
    } catch (error) {
      signal.throwIfAborted();
      if (limit.aborted) this.kill('hung', HUNG);
      throw limit.aborted || error instanceof ConnectionLost
        ? await this.#failure(error as Error, mark)
        : error;
    }
  }

  /** Refuses new requests and ends the process: SIGTERM, then SIGKILL. */
  async stop(): Promise<void> {
    const loading = this.#state === 'starting';
    if (this.#state !== 'dead') this.#state = 'draining';
    this.#cause ??= 'shutdown';
    // While loading, it ignores SIGTERM and has nothing to lose.
    if (loading) this.child.kill('SIGKILL');
    await this.#end(SHUTDOWN_GRACE_MS);
  }

  /** Ends the process at once. */
  kill(cause: WorkerExitCause, reason?: string): void {
    // A fault takes precedence over a recycling in progress.
    if (this.#cause !== 'shutdown') this.#cause = cause;
    this.#reason ??= reason;
    this.child.kill('SIGKILL');
  }

  /** @param graceMs between SIGTERM and SIGKILL, milliseconds. */
  async #end(graceMs?: number): Promise<void> {
    if (this.#wasReady && this.#state !== 'dead') this.#ending ??= this.#events.onEnding?.(this);
    if (this.#ending) await this.#ending;
    await this.child.stop(graceMs);
  }

  async #becomeReady(listening: Promise<Endpoint>): Promise<void> {
    const endpoint = await listening;
    const signal = AbortSignal.timeout(this.options.timeouts.startMs);
    // It listens only once the model is loaded; one round trip proves that it also replies.
    const props = await fetchJson(endpoint, 'GET', '/props', undefined, signal).catch((error: unknown) => {
      this.kill('start_failed', 'listens but does not reply');
      throw error;
    });
    this.#props = props as WorkerProps;
    if (this.#state !== 'starting') return;
    this.#endpoint = endpoint;
    this.#state = 'ready';
    this.#wasReady = true;
    this.child.stderr.stopLines();
    this.#events.onReady(this);
  }

  #giveUpStart(): void {
    const seconds = this.options.timeouts.startMs / 1000;
    this.kill(
      'start_failed',
      `no sign of progress for ${seconds} s while starting; if this llama-cli is old it has no server inside: ` +
        'run `npm run setup`, or set LLM_BIN_PATH to a llama-server',
    );
  }

  /** Runs a request that the worker has to make progress with. */
  async #watched<T>(run: (endpoint: Endpoint, activity: Activity) => Promise<T>): Promise<T> {
    const endpoint = this.#endpoint;
    const mark = this.child.stderr.position();
    if (!endpoint || this.#state === 'dead') throw new WorkerFailure('died', 'the worker is gone', '');
    const activity = this.#watch.begin(performance.now());
    this.#armWatch();
    try {
      return await run(endpoint, activity);
    } catch (error) {
      if (!(error instanceof ConnectionLost)) throw error;
      throw await this.#failure(error, mark);
    } finally {
      this.#watch.end(activity);
    }
  }

  #armWatch(): void {
    if (this.#watchTimer) return;
    const due = this.#watch.dueIn(performance.now());
    if (due === undefined) return;
    this.#watchTimer = setTimeout(() => void this.#checkProgress(), this.#watch.delay(due)).unref();
  }

  async #checkProgress(): Promise<void> {
    if (this.#isOverdue() && (await areSlotsAdvancing(this.#endpoint!)))
      this.#watch.noteProgress(performance.now());
    this.#watchTimer = undefined;
    if (this.#isOverdue()) this.kill('hung', HUNG);
    else this.#armWatch();
  }

  #isOverdue(): boolean {
    const due = this.#watch.dueIn(performance.now());
    return due !== undefined && due <= 0;
  }

  #onExit(status: ExitStatus): void {
    this.#state = 'dead';
    clearTimeout(this.#watchTimer);
    this.#probe.end();
    // Connections to a process that survived SIGKILL would stay open; others may still deliver the last events.
    if (status.survived) this.#agent.destroy();
    // What the process has sent is read at once, so that its end is noticed before the clients have read all of it.
    for (const goOn of [...this.#held]) goOn();
    // A worker to be recycled that exits before its last reply is finished was not ended by LMServ.
    const early = this.#cause === 'recycled' && this.#leased > 0;
    const classified = this.#wasReady ? classifyExit(status) : 'start_failed';
    const cause = early ? classified : (this.#cause ?? classified);
    const reason = this.#reason ?? (isIntended(cause) ? cause : this.#describe(status));
    this.#exit = { status, cause, reason };
    this.#events.onExit(this, this.#exit);
  }

  #describe(status: ExitStatus): string {
    const shortage = this.#wasReady ? undefined : this.#load.shortage(this.options.gpu);
    return shortage ?? describeExit(status);
  }

  /** The connection breaks just before the exit is known, so this waits for the exit to learn the cause. */
  async #failure(error: Error, mark: number): Promise<WorkerFailure> {
    await within(EXIT_LAG_MS, this.child.exited);
    // The connection broke but the process still runs: something is wrong with it.
    if (this.#state === 'ready') this.suspect();
    const hung = this.#cause === 'hung';
    const message = hung ? 'the worker hung' : 'the worker died';
    const stderr = this.child.stderr.since(mark, STDERR_SNIPPET);
    return new WorkerFailure(hung ? 'hung' : 'died', message, stderr, this.#exit, { cause: error });
  }
}
