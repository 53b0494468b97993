import type { Server as HttpServer } from 'node:http';
import type { AddressInfo, ListenOptions } from 'node:net';
import { ConfigError, DEFAULT_KEY, type Config } from '../config/load.js';
import type { ModelControl } from '../contract.js';
import { onAcceptError } from '../http/server.js';
import { stdoutOutput, type LogOutput } from '../observe/log-output.js';
import { createLogger, type Logger } from '../observe/logger.js';
import { VERSION } from '../config/root.js';
import { isLoopback } from '../wire/address.js';
import { compose, type Extensions, type Parts } from './compose.js';

/** The life of one LMServ: its HTTP server, its backends and their workers. */
export class LMServ {
  readonly logger: Logger;
  readonly #config: Config;
  readonly #extensions: Extensions;
  readonly #output: LogOutput = stdoutOutput();
  #parts: Parts | undefined;
  #stopped: Promise<void> | undefined;

  constructor(config: Config, extensions: Extensions = {}) {
    this.#config = config;
    this.#extensions = extensions;
    const { logLevel: level } = config;
    this.logger = extensions.logger ?? createLogger({ level, readable: process.stdout.isTTY }, this.#output);
  }

  /** The port it listens on, also if the configured one is 0. */
  get port(): number {
    return (this.address as AddressInfo).port;
  }

  /** The address it listens on; null once it no longer does. */
  get address(): AddressInfo | null {
    return this.#running.http.address() as AddressInfo | null;
  }

  get host(): string {
    return this.#config.host;
  }

  /** The id of the model for requests that name none. */
  get model(): string {
    return this.#running.backends.registry.defaultId ?? '';
  }

  /** Which local models are in memory. */
  get memory(): ModelControl {
    return this.#running.backends.memory;
  }

  /** Resolves when the first worker takes requests. */
  get ready(): Promise<void> {
    return this.#running.backends.ready;
  }

  /**
   * Starts the workers and listens; requests get 503 until the first worker is ready. On an inherited socket they wait
   * until the first worker is ready or no worker could be started.
   *
   * @throws BinaryError, ConfigError, KeyFileError, UsageFileError or the system's error for a taken port.
   */
  async start(): Promise<void> {
    const { logger } = this;
    for (const note of this.#config.notes) logger.info({ event: 'note' }, note);
    const parts = await compose({
      config: this.#config,
      extensions: this.#extensions,
      logger,
      output: this.#output,
    });
    this.#parts = parts;
    parts.keyring.watch();
    parts.configFile?.watch();
    try {
      await parts.slots?.open();
      await this.#listen(parts);
      parts.catalogue.watch();
      parts.http.on('error', onAcceptError(logger));
    } catch (error) {
      parts.backends.kill();
      await parts.slots?.close();
      this.#close(parts);
      throw error;
    }
    const { address: host, port } = this.address as AddressInfo;
    parts.stalls.start();
    logger.info({ event: 'listening', host, port, version: VERSION }, 'listening');
  }

  /** Reads the key file and the configuration file again; an invalid one is logged and changes nothing. */
  async reload(): Promise<void> {
    await Promise.all([this.#parts?.keyring.reload(), this.#parts?.configFile?.reload()]);
  }

  /** Refuses new work, finishes open streams within the grace period, then ends the workers. May be called again. */
  stop(): Promise<void> {
    this.#stopped ??= this.#parts ? this.#stop(this.#parts) : Promise.resolve();
    return this.#stopped;
  }

  /** Ends all workers at once. */
  kill(): void {
    this.#parts?.backends.kill();
  }

  /** Process ids of the running workers. */
  workerPids(): number[] {
    return this.#running.backends.pids();
  }

  get #running(): Parts {
    if (!this.#parts) throw new Error('the server is not running; call start() first');
    return this.#parts;
  }

  async #listen({ http, backends }: Parts): Promise<void> {
    const { port, host, apiKey } = this.#config;
    const { listenFd } = this.#extensions;
    if (listenFd === undefined) {
      await listen(http, { port, host });
      backends.start();
      return;
    }
    backends.start();
    await backends.started;
    await listen(http, { fd: listenFd });
    if (apiKey === DEFAULT_KEY && !isLoopback((this.address as AddressInfo).address)) {
      http.close();
      throw new ConfigError({
        variable: 'API_KEY',
        message: 'with the default key the socket must be on 127.0.0.1; set your own key',
      });
    }
  }

  async #stop(parts: Parts): Promise<void> {
    const { http, backends, slots, inFlight } = parts;
    this.logger.info({ event: 'stopping' }, 'stopping');
    // Connections to an inherited socket then wait for the next process instead of being refused by this one.
    if (this.#extensions.listenFd !== undefined) http.close();
    await inFlight.drain(this.#config.shutdownGraceMs);
    const closed = new Promise((resolve) => http.close(resolve));
    http.closeAllConnections();
    await Promise.all([closed, backends.stop()]);
    await slots?.close();
    this.#close(parts);
    this.logger.info({ event: 'stopped' }, 'stopped');
  }

  #close({ keyring, usage, configFile, catalogue, stalls }: Parts): void {
    stalls.stop();
    catalogue.close();
    configFile?.close();
    keyring.close();
    usage.close();
  }
}

function listen(server: HttpServer, where: ListenOptions | { readonly fd: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(where, () => {
      server.off('error', reject);
      resolve();
    });
  });
}
