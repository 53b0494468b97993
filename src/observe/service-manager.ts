import { hrtime } from 'node:process';

/** What systemd is told of this service, as sd_notify(3) has it; without a service manager nothing is done. */

/** Sends one message, such as `['READY=1', 'STATUS=ok']`. Never rejects. */
export type Notify = (fields: readonly string[]) => Promise<void>;

/** What a self-check found: the server answers, and perhaps it can serve. */
export interface Vitals {
  readonly ready: boolean;
  /** One line for people. */
  readonly status: string;
}

export interface ServiceManagerOptions {
  /** undefined: there is no service manager. */
  readonly notify: Notify | undefined;
  /** Silence after which the service manager kills the service, milliseconds; undefined where it does not. */
  readonly watchdogMs: number | undefined;
  /** Asks the server over its own port; undefined when no answer came in that many milliseconds. Never rejects. */
  readonly check: (timeoutMs: number) => Promise<Vitals | undefined>;
}

/** Between looks where no watchdog says otherwise, milliseconds. */
const LOOK_EVERY_MS = 30_000;

/** After a look that failed: one lost answer is no reason for a restart. Milliseconds. */
const LOOK_AGAIN_MS = 1_000;

/** What may take longer than the grace of a shutdown: workers that need SIGKILL, and some room. Milliseconds. */
const STOP_MARGIN_MS = 15_000;

/** Tells the service manager that the server is ready, alive, reloading or stopping. */
export class ServiceManager {
  readonly #options: ServiceManagerOptions;
  /** Between looks: half the watchdog's time, milliseconds. */
  readonly #every: number;
  #timer: NodeJS.Timeout | undefined;
  /** Messages go one after another, or READY and STOPPING could change places. */
  #sent: Promise<void> = Promise.resolve();
  #ready = false;
  #stopping = false;

  constructor(options: ServiceManagerOptions) {
    this.#options = options;
    this.#every = options.watchdogMs === undefined ? LOOK_EVERY_MS : options.watchdogMs / 2;
  }

  /** Looks now and from then on at half the watchdog's time. */
  async watch(): Promise<void> {
    if (this.#options.notify === undefined) return;
    clearTimeout(this.#timer);
    const passed = await this.#look();
    if (this.#stopping) return;
    clearTimeout(this.#timer);
    const wait = passed ? this.#every : Math.min(this.#every, LOOK_AGAIN_MS);
    this.#timer = setTimeout(() => void this.watch(), wait).unref();
  }

  /** Runs a reload, with its begin and end told. */
  async reload(work: () => Promise<void>): Promise<void> {
    // Before the first READY there is nothing that could be reloaded, and a READY now would be untrue.
    if (!this.#ready) return work();
    void this.#send('RELOADING=1', `MONOTONIC_USEC=${hrtime.bigint() / 1000n}`);
    try {
      await work();
    } finally {
      // Waited for, so that a storm of reloads cannot pile up messages before the signs of life.
      if (!this.#stopping) await this.#send('READY=1');
    }
  }

  /**
   * The shutdown has begun. Asks for the time that it may take, whatever the unit says.
   *
   * @param graceMs that open replies have, milliseconds.
   * @returns when the message has been sent.
   */
  stopping(graceMs: number): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#timer);
    const micros = Math.ceil((graceMs + STOP_MARGIN_MS) * 1000);
    return this.#send('STOPPING=1', 'STATUS=finishing open replies', `EXTEND_TIMEOUT_USEC=${micros}`);
  }

  /** Only a server that has just answered is alive. @returns whether it has. */
  async #look(): Promise<boolean> {
    const vitals = await this.#options.check(this.#every / 2);
    if (vitals === undefined || this.#stopping) return false;
    const first = vitals.ready && !this.#ready;
    this.#ready ||= first;
    const fields = [`STATUS=${vitals.status}`];
    if (this.#options.watchdogMs !== undefined) fields.unshift('WATCHDOG=1');
    if (first) fields.unshift('READY=1');
    void this.#send(...fields);
    return true;
  }

  #send(...fields: string[]): Promise<void> {
    const { notify } = this.#options;
    if (notify !== undefined) this.#sent = this.#sent.then(() => notify(fields));
    return this.#sent;
  }
}
