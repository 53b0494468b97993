import type { WorkerExitCause } from '../src/contract.js';
import { within } from '../src/time.js';
import { Checkup } from './liveness-probe.js';
import { LlamaChild, type ExitCause } from './child.js';
import { describeExit, endingOf, isOurs, type WorkerExit } from './exit.js';
import { WorkerFailure } from './failure.js';
import type { Endpoint, WorkerOptions } from './options.js';
import { ProgressWatch } from './progress.js';
import { slotsMove } from './slot-progress.js';
import { ConnectionLost, fetchJson, postStream, type StreamOptions } from './child-http.js';

export type WorkerState = 'starting' | 'ready' | 'draining' | 'dead';

/** Told to the pool, which logs and counts; a worker has no logger of its own. */
export interface WorkerEvents {
  /** The worker takes requests. */
  onReady(worker: Worker): void;
  /** The number of its free slots has changed for another reason than a lease. */
  onChange(worker: Worker): void;
  /** The process is gone. */
  onExit(worker: Worker, exit: WorkerExit): void;
}

/** Characters of stderr that go with a failure. */
const STDERR_SNIPPET = 2_048;

/** How long the child's exit may lag behind its broken connection, milliseconds. */
const EXIT_LAG_MS = 500;

/** A worker that is ended with the server has nothing to lose, and the server's own time to end is short. */
const SHUTDOWN_GRACE_MS = 500;

/** A probe is one token; a machine that is so busy that it takes longer is no use either. Milliseconds. */
const LONGEST_CHECK_MS = 5_000;

const HUNG = 'hung: no progress within the deadline';

const LISTENING = /\blistening on (?:http:\/\/127\.0\.0\.1:(\d+))?/;

/**
 * A persistent llama.cpp process and everything it takes to use it: starting → ready → draining → dead. It judges
 * its own progress and kills itself when it hangs. It counts its own leases; the pool asks with `tryLease`.
 */
export class Worker {
  readonly child: LlamaChild;
  /** Of `performance.now()`. */
  readonly startedAt = performance.now();
  /** Resolves once the worker takes requests; rejects with a WorkerFailure when it never will. */
  readonly ready: Promise<void>;
  #state: WorkerState = 'starting';
  #endpoint: Endpoint | undefined;
  #leased = 0;
  #served = 0;
  #wasReady = false;
  #seesImages = false;
  #ending: WorkerExitCause | undefined;
  #reason: string | undefined;
  #exit: WorkerExit | undefined;
  readonly #checkup: Checkup;
  #watchTimer: NodeJS.Timeout | undefined;
  readonly #watch: ProgressWatch;
  /** Cuts the connection of each request that is open. */
  readonly #open = new Set<AbortController>();

  constructor(
    readonly id: string,
    readonly options: WorkerOptions,
    env: NodeJS.ProcessEnv,
    private readonly events: WorkerEvents,
  ) {
    this.#watch = new ProgressWatch(options.timeouts);
    this.#checkup = new Checkup({
      timeoutMs: Math.min(LONGEST_CHECK_MS, options.timeouts.tokenMs),
      onChange: () => events.onChange(this),
      onLost: () => this.kill('hung', 'hung: it does not answer probes'),
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
      const match = LISTENING.exec(line);
      const endpoint = match && (this.child.listen ?? (match[1] ? { port: Number(match[1]) } : undefined));
      if (endpoint) foundEndpoint(endpoint);
    });
    resetSilence();
    void this.child.exited.then((cause) => this.#onExit(cause));
    const died = this.child.exited.then((cause) => {
      throw new WorkerFailure(
        'start_failed',
        `the worker did not start: ${this.#reason ?? describeExit(cause)}`,
        this.child.stderr.since(0, STDERR_SNIPPET),
      );
    });
    this.ready = Promise.race([this.#becomeReady(listening), died]).finally(() => clearTimeout(silence));
    // The pool learns of a failed start from onExit; a `ready` that nobody awaits must not crash the process.
    this.ready.catch(() => undefined);
  }

  get state(): WorkerState {
    return this.#state;
  }

  get pid(): number | undefined {
    return this.child.pid;
  }

  /** The model has a projector for images. */
  get seesImages(): boolean {
    return this.#seesImages;
  }

  /** Slots in use. */
  get leased(): number {
    return this.#leased;
  }

  /** Requests it has finished since its start. */
  get served(): number {
    return this.#served;
  }

  /** It has missed a check and takes no requests until it answers one. */
  get suspected(): boolean {
    return this.#checkup.suspected;
  }

  /** Slots that can be leased now. */
  get free(): number {
    return this.#state === 'ready' && !this.suspected ? this.options.slots - this.#leased : 0;
  }

  /**
   * Takes a slot if one is free. The function it returns gives the slot back, is told whether the request was served to
   * its end, and may be called more than once.
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
      if (this.#leased === 0 && this.#state === 'draining') void this.child.stop();
    };
  }

  /**
   * Looks whether it still answers; who does not is asked again and ended after three misses. One that is in use is
   * judged by its progress instead. A probe generates a token, which would cost a worker its cached prefix: it is for
   * one that is suspected, or has nothing to lose.
   */
  async check(): Promise<void> {
    if (this.#state !== 'ready' || this.#leased > 0 || !this.#endpoint) return;
    await this.#checkup.run(this.#endpoint, this.#served === 0);
  }

  /** Takes no requests until it has answered a probe. */
  suspect(): void {
    if (this.#state !== 'ready' || !this.#endpoint) return;
    this.#checkup.suspect();
    void this.#checkup.run(this.#endpoint, true);
  }

  /** Takes no more requests, finishes those it has and ends. */
  retire(): void {
    if (this.#state !== 'ready') return;
    this.#state = 'draining';
    this.#ending ??= 'recycled';
    this.events.onChange(this);
    if (this.#leased === 0) void this.child.stop();
  }

  /**
   * Sends a request to the child, passes each event of its reply to `onChunk`, prefill progress included, and resolves
   * at its end.
   *
   * @throws ChildRefusal when the child rejects the request, WorkerFailure when it dies or hangs, what `onChunk` throws,
   *   the signal's reason when it aborts.
   */
  async generate(path: string, body: object, options: Omit<StreamOptions, 'activity'>): Promise<void> {
    const endpoint = this.#endpoint;
    const mark = this.child.stderr.position();
    if (!endpoint || this.#state === 'dead') throw new WorkerFailure('died', 'the worker is gone', '');
    const activity = this.#watch.begin(performance.now());
    this.#armWatch();
    const cut = new AbortController();
    this.#open.add(cut);
    try {
      const text = JSON.stringify({ ...body, stream: true, return_progress: true });
      const signal = AbortSignal.any([options.signal, cut.signal]);
      await postStream(endpoint, path, text, { ...options, signal, activity });
    } catch (error) {
      if (!(error instanceof ConnectionLost)) throw error;
      throw await this.#failure(error, mark);
    } finally {
      this.#open.delete(cut);
      this.#watch.end(activity);
    }
  }

  /** A JSON document of the child's, such as `/props`. @throws as `generate`. */
  async fetch(
    method: 'GET' | 'POST',
    path: string,
    body: object | undefined,
    signal: AbortSignal,
  ): Promise<unknown> {
    if (!this.#endpoint) throw new WorkerFailure('died', 'the worker is gone', '');
    const text = body === undefined ? undefined : JSON.stringify(body);
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

  /** Takes no more requests and ends the process: SIGTERM, then SIGKILL. */
  async stop(): Promise<void> {
    const loading = this.#state === 'starting';
    if (this.#state !== 'dead') this.#state = 'draining';
    this.#ending ??= 'shutdown';
    // While it loads it does not hear SIGTERM, and there is nothing to lose.
    if (loading) this.child.kill('SIGKILL');
    await this.child.stop(SHUTDOWN_GRACE_MS);
  }

  /** Ends the process at once. */
  kill(ending: WorkerExitCause, reason?: string): void {
    // What is wrong with it goes before a recycling that was under way.
    if (this.#ending !== 'shutdown') this.#ending = ending;
    this.#reason ??= reason;
    this.child.kill('SIGKILL');
  }

  async #becomeReady(listening: Promise<Endpoint>): Promise<void> {
    const endpoint = await listening;
    const signal = AbortSignal.timeout(this.options.timeouts.startMs);
    // It listens only once the model is loaded; one round trip proves that it answers as well.
    const props = await fetchJson(endpoint, 'GET', '/props', undefined, signal).catch((error: unknown) => {
      this.kill('start_failed', 'listens but does not answer');
      throw error;
    });
    this.#seesImages = (props as { modalities?: { vision?: boolean } }).modalities?.vision === true;
    if (this.#state !== 'starting') return;
    this.#endpoint = endpoint;
    this.#state = 'ready';
    this.#wasReady = true;
    this.events.onReady(this);
  }

  #giveUpStart(): void {
    const seconds = this.options.timeouts.startMs / 1000;
    this.kill(
      'start_failed',
      `no sign of progress for ${seconds} s while starting; if this llama-cli is old it has no server inside: ` +
        'run `npm run setup`, or set LLM_BIN_PATH to a llama-server',
    );
  }

  #armWatch(): void {
    if (this.#watchTimer) return;
    const due = this.#watch.dueIn(performance.now());
    if (due === undefined) return;
    // Never later than the shorter deadline: a phase may change while the timer runs, and it is not set anew for
    // each token.
    const { firstTokenMs, tokenMs } = this.options.timeouts;
    this.#watchTimer = setTimeout(
      () => void this.#checkProgress(),
      Math.max(1, Math.min(due, firstTokenMs, tokenMs)),
    );
    this.#watchTimer.unref();
  }

  async #checkProgress(): Promise<void> {
    if (this.#isOverdue() && (await slotsMove(this.#endpoint!))) this.#watch.alive(performance.now());
    this.#watchTimer = undefined;
    if (this.#isOverdue()) this.kill('hung', HUNG);
    else this.#armWatch();
  }

  #isOverdue(): boolean {
    const due = this.#watch.dueIn(performance.now());
    return due !== undefined && due <= 0;
  }

  #onExit(cause: ExitCause): void {
    this.#state = 'dead';
    clearTimeout(this.#watchTimer);
    this.#checkup.end();
    // The connections of one that survived SIGKILL would stay open; those of others still hold its last words.
    if (cause.survived) for (const cut of this.#open) cut.abort(new ConnectionLost('the worker is given up'));
    // One that was to go when its last reply is finished, and went before, did not go by our will.
    const early = this.#ending === 'recycled' && this.#leased > 0;
    const found = this.#wasReady ? endingOf(cause) : 'start_failed';
    const ending = early ? found : (this.#ending ?? found);
    const reason = this.#reason ?? (isOurs(ending) ? ending : describeExit(cause));
    this.#exit = { cause, ending, reason };
    this.events.onExit(this, this.#exit);
  }

  /** The connection breaks a moment before the exit is known; wait for it, so that the cause can be told. */
  async #failure(error: Error, mark: number): Promise<WorkerFailure> {
    await within(EXIT_LAG_MS, this.child.exited);
    // The connection broke and the process is there: something is wrong with it.
    if (this.#state === 'ready') this.suspect();
    const hung = this.#ending === 'hung';
    const message = hung ? 'the worker hung' : 'the worker died';
    const stderr = this.child.stderr.since(mark, STDERR_SNIPPET);
    return new WorkerFailure(hung ? 'hung' : 'died', message, stderr, this.#exit, { cause: error });
  }
}
