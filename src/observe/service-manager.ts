import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { hrtime } from 'node:process';
import { json } from 'node:stream/consumers';
import { execa } from 'execa';
import { connectHost } from '../wire/address.js';

/** Messages to systemd by sd_notify(3), and the self-check that they report. Does nothing without a service manager. */

/** Sends one message, such as `['READY=1', 'STATUS=ok']`. Never rejects. */
export type Notify = (fields: readonly string[]) => Promise<void>;

/** What a self-check found: the server replies, and perhaps it can serve. */
export interface Vitals {
  readonly ready: boolean;
  /** One line for people. */
  readonly status: string;
}

export interface ServiceManagerOptions {
  /** undefined if there is no service manager. */
  readonly notify: Notify | undefined;
  /** Silence after which the service manager kills the service, milliseconds; undefined if it never does. */
  readonly watchdogMs: number | undefined;
  /** Checks the server over its own port; undefined if there was no reply in time. Never rejects. */
  readonly check: (timeoutMs: number) => Promise<Vitals | undefined>;
}

/** Time between checks without a watchdog, milliseconds. */
const CHECK_EVERY_MS = 30_000;

/** Time until the next check after one that failed: a single lost reply is not a reason to restart. Milliseconds. */
const CHECK_AGAIN_MS = 1_000;

/** Time for a shutdown beyond its grace period: for workers that need SIGKILL, and some margin. Milliseconds. */
const STOP_MARGIN_MS = 15_000;

/** Tells the service manager that the server is ready, alive, reloading or stopping. */
export class ServiceManager {
  readonly #options: ServiceManagerOptions;
  /** Time between checks: half the watchdog's, milliseconds. */
  readonly #every: number;
  #timer: NodeJS.Timeout | undefined;
  /** Messages are sent one after another, or READY and STOPPING could arrive in the wrong order. */
  #sent: Promise<void> = Promise.resolve();
  #ready = false;
  #stopping = false;

  constructor(options: ServiceManagerOptions) {
    this.#options = options;
    this.#every = options.watchdogMs === undefined ? CHECK_EVERY_MS : options.watchdogMs / 2;
  }

  /** Checks the server now and then at half the watchdog's interval. */
  async watch(): Promise<void> {
    if (this.#options.notify === undefined) return;
    clearTimeout(this.#timer);
    const passed = await this.#check();
    if (this.#stopping) return;
    clearTimeout(this.#timer);
    const wait = passed ? this.#every : Math.min(this.#every, CHECK_AGAIN_MS);
    this.#timer = setTimeout(() => void this.watch(), wait).unref();
  }

  /** Runs a reload and announces its beginning and end. */
  async reload(work: () => Promise<void>): Promise<void> {
    // Before the first READY there is nothing to reload, and a READY now would not be true.
    if (!this.#ready) return work();
    void this.#send('RELOADING=1', `MONOTONIC_USEC=${hrtime.bigint() / 1000n}`);
    try {
      await work();
    } finally {
      // Awaited, so that a storm of reloads cannot pile up messages ahead of the watchdog's.
      if (!this.#stopping) await this.#send('READY=1');
    }
  }

  /**
   * Announces the shutdown and requests the time it may take, whatever the unit says.
   *
   * @param graceMs the time open replies have, milliseconds.
   * @returns when the message has been sent.
   */
  stopping(graceMs: number): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#timer);
    const micros = Math.ceil((graceMs + STOP_MARGIN_MS) * 1000);
    return this.#send('STOPPING=1', 'STATUS=finishing open replies', `EXTEND_TIMEOUT_USEC=${micros}`);
  }

  /** Reports the server as alive if it replies. @returns whether it did. */
  async #check(): Promise<boolean> {
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

export interface SystemdNotifyOptions {
  /** NOTIFY_SOCKET: the socket that systemd listens on. */
  readonly socket: string;
  /** PATH, on which the program is found. */
  readonly searchPath: string | undefined;
  /** Called for each message that systemd did not take. */
  readonly onError: (reason: string) => void;
}

/** Max time for one message, milliseconds. */
const SEND_TIMEOUT_MS = 5_000;

/**
 * Messages through the program `systemd-notify`, because Node has no UNIX datagram sockets. It waits until systemd has
 * taken the message (so no --no-block): systemd must still find the sender's process to know its unit. The unit needs
 * `NotifyAccess=all`, because the sender is a child.
 */
export function systemdNotify({ socket, searchPath, onError }: SystemdNotifyOptions): Notify {
  const env = { NOTIFY_SOCKET: socket, PATH: searchPath };
  return async (fields) => {
    const options = {
      env,
      extendEnv: false,
      stdin: 'ignore',
      reject: false,
      timeout: SEND_TIMEOUT_MS,
      // The working directory may have been removed, and execa would throw.
      cwd: '/',
    } as const;
    const result = await execa('systemd-notify', fields, { ...options, killSignal: 'SIGKILL' });
    if (result.failed) onError(result.shortMessage ?? result.stderr);
  };
}

/** The part of the health report that is shown. */
interface Report {
  readonly status: string;
  readonly workers: { readonly total: number; readonly idle: number; readonly busy: number };
}

/**
 * Asks a server for its health as a client would, on a fresh connection. Any status will do.
 *
 * @param address null if it does not listen.
 * @param timeoutMs for the whole reply, milliseconds.
 * @returns undefined if there was no reply in time.
 */
export async function checkSelf(address: AddressInfo | null, timeoutMs: number): Promise<Vitals | undefined> {
  if (address === null) return undefined;
  const where = {
    host: connectHost(address.address),
    port: address.port,
    path: '/health',
    agent: false,
  } as const;
  const headers = { Accept: 'application/json', Connection: 'close' };
  try {
    const request = get({ ...where, headers, signal: AbortSignal.timeout(timeoutMs) });
    // A time-out in the middle of the reply emits an error here, too.
    request.on('error', () => undefined);
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    return { ready: response.statusCode === 200, status: describe((await json(response)) as Report) };
  } catch {
    return undefined;
  }
}

function describe({ status, workers }: Report): string {
  return `${status}: ${workers.idle + workers.busy} of ${workers.total} workers ready, ${workers.busy} busy`;
}
