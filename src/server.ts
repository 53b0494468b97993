import { readFileSync, statSync } from 'node:fs';
import { createServer as createHttpServer, type Server as HttpServer } from 'node:http';
import { BlockList, isIPv6, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { ensureModel } from '../scripts/model/ensure.js';
import { resolveBinary } from '../workers/binary.js';
import { LocalBackend } from './backends/local.js';
import { ConfigError, processEnv, type Config, type LocalModelConfig } from './config.js';
import { createGenerate } from './generate/generate.js';
import { Registry, type RegistryEntry } from './generate/registry.js';
import { createApp } from './http/app.js';
import { keyAuth, singleKey } from './http/auth.js';
import { InFlight } from './http/in-flight.js';
import type { Health } from './http/ops.js';
import { logRequest } from './http/request-log.js';
import { createLogger, type Logger } from './observe/logger.js';
import { Pool } from './pool/pool.js';
import { ROOT } from './root.js';

/** Milliseconds for headers and for a whole request to arrive; slower ones get 408. */
const HEADERS_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 30_000;

export const VERSION = (JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string })
  .version;

/** One LMServ: its HTTP server, its models and their workers. */
export class LMServ {
  readonly logger: Logger;
  readonly #config: Config;
  readonly #inFlight = new InFlight();
  #backends: LocalBackend[] = [];
  #pools: Pool[] = [];
  #registry: Registry | undefined;
  #http: HttpServer | undefined;
  #stopped: Promise<void> | undefined;

  constructor(config: Config, logger?: Logger) {
    this.#config = config;
    this.logger =
      logger ??
      createLogger({
        level: config.logLevel,
        readable: process.stdout.isTTY && config.logLevel !== 'silent',
      });
  }

  /** The port it listens on, which is of interest where 0 was asked for. */
  get port(): number {
    const address = this.#http?.address() as AddressInfo | null | undefined;
    if (!address) throw new Error('the server is not listening; call start() first');
    return address.port;
  }

  get host(): string {
    return this.#config.host;
  }

  /** Resolves when the first worker of the default model takes requests. */
  get ready(): Promise<void> {
    return this.#pools[0]?.firstReady ?? Promise.reject(new Error('call start() first'));
  }

  /**
   * Starts the workers and listens; requests get 503 until the first worker is ready.
   *
   * @throws BinaryError, ConfigError or the system's error for a taken port.
   */
  async start(): Promise<void> {
    for (const note of this.#config.notes) this.logger.info({ event: 'note' }, note);
    const entries = [];
    for (const model of this.#config.models) entries.push(await this.#addModel(model));
    this.#registry = new Registry(entries, this.#config.unknownModel);
    this.#http = this.#createHttp(this.#registry);
    await listen(this.#http, this.#config.port, this.#config.host);
    for (const backend of this.#backends) backend.start();
    this.logger.info(
      { event: 'listening', host: this.#config.host, port: this.port, version: VERSION },
      'listening',
    );
  }

  /** Refuses new work, finishes open streams within the grace, then ends the workers. May be called again. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  /** Ends all workers at once. */
  kill(): void {
    for (const backend of this.#backends) backend.kill();
  }

  /** Process ids of the living workers. */
  workerPids(): number[] {
    return this.#pools.flatMap((pool) => pool.pids());
  }

  async #stop(): Promise<void> {
    this.logger.info({ event: 'stopping' }, 'stopping');
    await this.#inFlight.drain(this.#config.shutdownGraceMs);
    const closed = new Promise((resolve) => (this.#http ? this.#http.close(resolve) : resolve(undefined)));
    this.#http?.closeAllConnections();
    await Promise.all([closed, ...this.#backends.map((backend) => backend.stop(0))]);
    this.logger.info({ event: 'stopped' }, 'stopped');
  }

  async #addModel(model: LocalModelConfig): Promise<RegistryEntry> {
    const config = this.#config;
    const binary = await resolveBinary({
      ...(model.binPath === undefined ? {} : { configured: model.binPath }),
      root: ROOT,
      ...(processEnv().PATH === undefined ? {} : { searchPath: processEnv().PATH! }),
    });
    const modelPath = await this.#localFile(model.path);
    const { slots, ctxSize, gpuLayers, threads, cacheRamMb, extraArgs } = model;
    const pool = new Pool({
      name: model.id,
      workers: model.workers,
      worker: {
        ...{ binary, modelPath, slots, ctxSize, gpuLayers, threads, cacheRamMb, extraArgs },
        timeouts: {
          startMs: config.startTimeoutMs,
          firstTokenMs: config.firstTokenTimeoutMs,
          tokenMs: config.tokenTimeoutMs,
        },
      },
      gpus: model.gpus,
      queueLimit: config.queueLimit,
      queueTimeoutMs: config.queueTimeoutMs,
      env: processEnv(),
      logger: this.logger,
    });
    const backend = new LocalBackend(model.id, pool, this.logger);
    this.#pools.push(pool);
    this.#backends.push(backend);
    this.logger.info(
      { event: 'model', model: model.id, binary: binary.kind, llamaCpp: binary.version },
      'model',
    );
    return {
      info: { id: model.id, created: Math.floor(statSync(modelPath).mtimeMs / 1000), ownedBy: 'lmserv' },
      aliases: model.aliases,
      backends: [backend],
      maxTokens: { standard: config.maxTokens, cap: config.maxTokensCap ?? ctxSize },
    };
  }

  /** A model of the hub's is fetched once; afterwards its file is found without the network. */
  async #localFile(path: string): Promise<string> {
    return path.startsWith('hf:') ? ensureModel(path, { modelsDir: join(ROOT, 'models') }) : path;
  }

  #createHttp(registry: Registry): HttpServer {
    const config = this.#config;
    const app = createApp({
      generate: createGenerate(registry.resolve),
      authenticate: keyAuth({
        lookup: singleKey(config.apiKey),
        open: config.apiKey === '',
        keyless: blockList(config.keylessNetworks),
      }),
      health: () => this.#health(),
      models: () => registry.list(),
      onRequestDone: (record) => logRequest(this.logger, record),
      inFlight: this.#inFlight,
      logger: this.logger,
      allowedHosts: [...config.allowedHosts, config.host],
      corsOrigins: config.corsOrigins,
      trustProxy: config.trustProxy,
      healthFormat: config.healthFormat,
      maxBodyBytes: config.maxBodyBytes,
      rateLimitQps: config.rateLimitQps,
    });
    const timeouts = { headersTimeout: HEADERS_TIMEOUT_MS, requestTimeout: REQUEST_TIMEOUT_MS };
    return createHttpServer({ ...timeouts, connectionsCheckingInterval: 1_000 }, app);
  }

  #health(): Health {
    const states = this.#backends.map((backend) => backend.status());
    const sum = <K extends 'workers' | 'slots' | 'queue'>(kind: K, field: keyof (typeof states)[number][K]) =>
      states.reduce((total, state) => total + (state[kind][field] as number), 0);
    return {
      status: this.#healthStatus(states),
      workers: {
        total: sum('workers', 'total'),
        idle: sum('workers', 'idle'),
        busy: sum('workers', 'busy'),
        starting: sum('workers', 'starting'),
        dead: sum('workers', 'dead'),
      },
      slots: { total: sum('slots', 'total'), idle: sum('slots', 'idle') },
      queue: { waiting: sum('queue', 'waiting'), limit: sum('queue', 'limit') },
      model: this.#registry?.entries[0]?.info.id ?? '',
      version: VERSION,
    };
  }

  #healthStatus(states: readonly { ready: boolean; starting: boolean }[]): Health['status'] {
    if (this.#inFlight.draining) return 'draining';
    if (states.some((state) => state.ready)) return 'ok';
    return states.some((state) => state.starting) ? 'starting' : 'unavailable';
  }
}

function listen(server: HttpServer, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ port, host }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

function blockList(networks: readonly string[]): BlockList {
  const list = new BlockList();
  for (const network of networks) {
    const [address = '', bits] = network.split('/');
    const family = isIPv6(address) ? 'ipv6' : 'ipv4';
    try {
      list.addSubnet(address, Number(bits ?? (family === 'ipv6' ? 128 : 32)), family);
    } catch {
      throw new ConfigError(`KEYLESS_NETWORKS: ${network} is no network such as 192.168.1.0/24`);
    }
  }
  return list;
}
