import { readFileSync } from 'node:fs';
import type { Server as HttpServer } from 'node:http';
import type { AddressInfo, ListenOptions } from 'node:net';
import { join } from 'node:path';
import type { Express } from 'express';
import { parseConfigFile, readConfigFile } from '../config/file/load.js';
import { ConfigError, DEFAULT_KEY, processEnv, type Config } from '../config/load.js';
import type { Backend } from '../contract.js';
import { WatchedFile } from '../files/watched-file.js';
import { createGenerate } from '../generate/generate.js';
import { onAcceptError } from '../http/accept-errors.js';
import { createApp } from '../http/app.js';
import { keyAuth, type Authenticate } from '../http/auth.js';
import { InFlight } from '../http/in-flight.js';
import { healthOf } from '../http/health.js';
import { httpServer } from '../http/http-server.js';
import { logRequest, type RequestRecord } from '../http/request-log.js';
import { routes, type Route } from '../http/routes.js';
import { Keyring } from '../accounts/keys/keyring.js';
import { Models } from './backends.js';
import { stdoutOutput } from '../observe/log-output.js';
import { createLogger, type Logger } from '../observe/logger.js';
import { Metrics } from '../observe/metrics/metrics.js';
import { StallMonitor } from '../observe/stall-monitor.js';
import { ROOT } from '../config/root.js';
import { RoutingPolicyError, type RoutingPolicy } from '../dialects/llm-connect/routing-policy.js';
import { Accounting } from '../accounts/usage/accounting.js';
import { toBudget } from '../accounts/usage/budget.js';
import { openUsageStore, type UsageStore } from '../accounts/usage/store.js';
import { isLoopback } from '../wire/address.js';

export const VERSION = (JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string })
  .version;

/** What a program may put in the place of LMServ's own, or beside it. */
export interface Extensions {
  readonly logger?: Logger | undefined;
  /** In the place of LMServ's keys. */
  readonly authenticate?: Authenticate | undefined;
  /** Routes that generate, beside LMServ's own: limits, usage and cancelling are the same for them. */
  readonly routes?: readonly Route[] | undefined;
  /** Adds any other routes, behind authentication. */
  readonly mount?: ((app: Express) => void) | undefined;
  /** Backends of another kind, by the name of their model. */
  readonly backends?: Readonly<Record<string, Backend>> | undefined;
  /** Chooses the model by `task_type` in /execute. */
  readonly routingPolicy?: RoutingPolicy | undefined;
  /** Descriptor of a listening TCP socket that outlives this process, in the place of HOST and PORT. */
  readonly listenFd?: number | undefined;
}

/** What exists from start() on. */
interface Parts {
  readonly models: Models;
  readonly keyring: Keyring;
  readonly usage: UsageStore;
  readonly http: HttpServer;
  /** The configuration file, if there is one. */
  readonly configFile: WatchedFile | undefined;
}

/** One LMServ: its HTTP server, its models and their workers. */
export class LMServ {
  readonly logger: Logger;
  readonly #config: Config;
  readonly #extensions: Extensions;
  readonly #inFlight = new InFlight();
  readonly #metrics: Metrics;
  readonly #stalls = new StallMonitor({ onStall: (ms, routes) => this.#onStall(ms, routes) });
  #parts: Parts | undefined;
  #stopped: Promise<void> | undefined;

  constructor(config: Config, extensions: Extensions = {}) {
    this.#config = config;
    this.#extensions = extensions;
    const output = stdoutOutput();
    const { logLevel: level } = config;
    this.logger = extensions.logger ?? createLogger({ level, readable: process.stdout.isTTY }, output);
    this.#metrics = new Metrics({
      version: VERSION,
      models: () => this.#running.models.served(),
      droppedLogLines: () => output.droppedInAll,
      usageBacklog: () => this.#running.usage.backlog,
    });
  }

  /** The port it listens on, which is of interest where 0 was asked for. */
  get port(): number {
    return (this.address as AddressInfo).port;
  }

  /** Where it listens; null when it does not any more. */
  get address(): AddressInfo | null {
    return this.#running.http.address() as AddressInfo | null;
  }

  get host(): string {
    return this.#config.host;
  }

  /** The id of the model that serves requests which name none. */
  get model(): string {
    return this.#running.models.registry.standardId ?? '';
  }

  /** Resolves when the first worker takes requests. */
  get ready(): Promise<void> {
    return this.#running.models.ready;
  }

  /**
   * Starts the workers and listens; requests get 503 until the first worker is ready. On a socket that was handed over
   * they wait in it until then, or until it is known that there is none.
   *
   * @throws BinaryError, ConfigError, KeyFileError, UsageFileError or the system's error for a taken port.
   */
  async start(): Promise<void> {
    for (const note of this.#config.notes) this.logger.info({ event: 'note' }, note);
    const { logger } = this;
    const env = processEnv();
    const models = await Models.build({
      config: this.#config,
      env,
      logger,
      observer: this.#metrics.poolObserver,
      backends: this.#extensions.backends,
    });
    const keyring = this.#openKeyring();
    const usage = this.#openUsage();
    const http = this.#createHttp(models, keyring, usage);
    const configFile = this.#watchedConfig(models);
    this.#parts = { models, keyring, usage, http, configFile };
    keyring.watch();
    configFile?.watch();
    try {
      await this.#listen(http, models);
      http.on('error', onAcceptError(logger));
    } catch (error) {
      models.kill();
      this.#close();
      throw error;
    }
    const { address: host, port } = this.address as AddressInfo;
    this.#stalls.start();
    logger.info({ event: 'listening', host, port, version: VERSION }, 'listening');
  }

  /** Reads the key file and the configuration file again; a bad one changes nothing and is logged. */
  async reload(): Promise<void> {
    if (!this.#parts) return;
    const { keyring, configFile } = this.#parts;
    await Promise.all([keyring.reload(), configFile?.reload()]);
  }

  /** Refuses new work, finishes open streams within the grace, then ends the workers. May be called again. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  /** Ends all workers at once. */
  kill(): void {
    this.#parts?.models.kill();
  }

  /** Process ids of the living workers. */
  workerPids(): number[] {
    return this.#running.models.pids();
  }

  get #running(): Parts {
    if (!this.#parts) throw new Error('the server is not running; call start() first');
    return this.#parts;
  }

  async #stop(): Promise<void> {
    if (!this.#parts) return;
    const { http, models } = this.#parts;
    this.logger.info({ event: 'stopping' }, 'stopping');
    // What comes to a socket that was handed over waits there for the next process, rather than being refused by this.
    if (this.#extensions.listenFd !== undefined) http.close();
    await this.#inFlight.drain(this.#config.shutdownGraceMs);
    const closed = new Promise((resolve) => http.close(resolve));
    http.closeAllConnections();
    await Promise.all([closed, models.stop()]);
    this.#close();
    this.logger.info({ event: 'stopped' }, 'stopped');
  }

  async #listen(http: HttpServer, models: Models): Promise<void> {
    const { port, host, apiKey } = this.#config;
    const { listenFd } = this.#extensions;
    if (listenFd === undefined) {
      await listen(http, { port, host });
      models.start();
      return;
    }
    models.start();
    await models.started;
    await listen(http, { fd: listenFd });
    if (apiKey === DEFAULT_KEY && !isLoopback((this.address as AddressInfo).address)) {
      http.close();
      const message = 'with the default one the socket must be on 127.0.0.1; set a key of your own';
      throw new ConfigError({ variable: 'API_KEY', message });
    }
  }

  #close(): void {
    const { keyring, usage, configFile } = this.#running;
    this.#stalls.stop();
    configFile?.close();
    keyring.close();
    usage.close();
  }

  #openKeyring(): Keyring {
    const { apiKey, keysFile } = this.#config;
    return new Keyring({
      ...(apiKey === '' ? {} : { apiKey }),
      ...(keysFile === undefined ? {} : { file: keysFile }),
      onError: (error) =>
        this.logger.error({ event: 'keys_refused', reason: error.message }, 'keys not reloaded'),
      onWarning: (message) => this.logger.warn({ event: 'keys_warning' }, message),
      onReload: (size) => this.logger.info({ event: 'keys_reloaded', keys: size }, 'keys reloaded'),
    });
  }

  #openUsage(): UsageStore {
    return openUsageStore({
      file: join(this.#config.dataDir, 'usage.sqlite'),
      onError: (error) =>
        this.logger.error({ event: 'usage_error', reason: error.message }, 'usage file not usable'),
      onRecovery: (message) => this.logger.info({ event: 'usage_recovered' }, message),
    });
  }

  #watchedConfig(models: Models): WatchedFile | undefined {
    const source = this.#config.fileSource;
    if (!source) return undefined;
    const { path, text } = source;
    return new WatchedFile({
      text,
      read: () => readConfigFile(path),
      apply: async (next) => {
        await models.apply(parseConfigFile(next.text, path));
        this.logger.info({ event: 'config_reloaded' }, 'configuration reloaded');
      },
      onError: (error) => {
        const reason = error instanceof Error ? error.message : String(error);
        this.logger.error({ event: 'config_refused', reason }, 'configuration not reloaded');
      },
    });
  }

  #createHttp(models: Models, keyring: Keyring, usage: UsageStore): HttpServer {
    const config = this.#config;
    const accounting = new Accounting({
      store: usage,
      tenantBudget: (tenant) => {
        const budget = models.file.tenants[tenant]?.budget;
        return budget && toBudget(budget);
      },
      keyBudget: (key) => keyring.budgetOf(key),
      priceOf: (model) => models.registry.priceOf(model),
    });
    const app = createApp({
      generate: createGenerate((...asked) => models.registry.resolve(...asked), {
        onFailure: ({ error, ...failure }) => {
          this.#metrics.backendFailed({ model: failure.model, error });
          // What the operator must mend is said in full; other messages may quote a remote server.
          const reason = error.code === 'configuration_error' ? error.message : undefined;
          this.logger.warn(
            { event: 'backend_failed', ...failure, error: error.code, reason },
            'a backend failed',
          );
        },
      }),
      admit: (caller, tenant) => accounting.admit(caller, tenant),
      usage: (caller, query) => accounting.report(caller, query),
      metrics: () => this.#metrics.expose(),
      authenticate: this.#extensions.authenticate ?? this.#keyAuth(keyring),
      health: () =>
        healthOf(models.status(), this.#inFlight.draining, models.registry.standardId ?? '', VERSION),
      models: () => models.registry.list(),
      onRequest: this.#stalls.requestBegan,
      onRequestDone: (record) => this.#onRequestDone(record, accounting),
      inFlight: this.#inFlight,
      logger: this.logger,
      routes: [...routes({ execute: this.#executeOptions(models) }), ...(this.#extensions.routes ?? [])],
      mount: this.#extensions.mount,
      allowedHosts: [...config.allowedHosts, config.host],
      corsOrigins: config.corsOrigins,
      trustProxy: config.trustProxy,
      healthFormat: config.healthFormat,
      maxBodyBytes: config.maxBodyBytes,
      rateLimitQps: config.rateLimitQps,
    });
    return httpServer(app);
  }

  #keyAuth(keyring: Keyring): Authenticate {
    return keyAuth({
      lookup: (key) => keyring.authenticate(key),
      open: this.#config.open,
      keyless: this.#config.keyless,
    });
  }

  #executeOptions(models: Models) {
    const { profiles, strictProfiles } = this.#config;
    const policy = this.#extensions.routingPolicy;
    return {
      profiles,
      strictProfiles,
      isKnownModel: (name: string) => models.registry.has(name),
      ...(policy ? { route: (taskType: string) => routeOf(policy, taskType) } : {}),
    };
  }

  #onStall(ms: number, routes: readonly string[]): void {
    this.#metrics.stalled(ms);
    const line = { event: 'event_loop_stalled', ms: Math.round(ms), routes };
    this.logger.warn(line, 'no request could be served for a while');
  }

  #onRequestDone(record: RequestRecord, accounting: Accounting): void {
    const { caller, context, outcome, delivered } = record;
    const trace = delivered ? context.trace : { ...context.trace, completionTokens: 0 };
    if (caller && context.tenant !== undefined) accounting.record(context.tenant, caller, trace, outcome);
    logRequest(this.logger, record);
    this.#metrics.requestDone(record);
  }
}

/** A task type the policy has no rule for is served as if it had not been given. */
function routeOf(policy: RoutingPolicy, taskType: string): string | undefined {
  try {
    return policy.resolve(taskType);
  } catch (error) {
    if (error instanceof RoutingPolicyError && error.code === 'no_route') return undefined;
    throw error;
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
