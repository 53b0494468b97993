import { statSync } from 'node:fs';
import { freemem } from 'node:os';
import { join } from 'node:path';
import { resolveBinary } from '../../workers/binary.js';
import { chooseSlots, chooseThreads } from '../../workers/sizing.js';
import { CustomBackend } from '../backends/custom.js';
import { LocalBackend } from '../backends/local/backend.js';
import { MockBackend } from '../backends/mock/backend.js';
import { remoteOptions } from '../config/file/remote-options.js';
import type { ConfigFile, ModelSettings, RemoteSettings } from '../config/file/schema.js';
import { ConfigError, type Config } from '../config/load.js';
import type { Backend, BackendStatus } from '../contract.js';
import { LMServError } from '../errors.js';
import type { Registry, RegistryEntry } from '../generate/registry.js';
import type { Logger } from '../observe/logger.js';
import type { ServedModel } from '../observe/metrics/served-models.js';
import type { PoolObserver } from '../observe/pool-observer.js';
import { Pool } from '../pool/pool.js';
import { ROOT } from '../config/root.js';
import { buildRegistry, type Built, type Made } from './build.js';

export interface ModelsOptions {
  readonly config: Config;
  readonly env: NodeJS.ProcessEnv;
  readonly logger: Logger;
  /** Told what happens in the pools. */
  readonly observer?: PoolObserver | undefined;
  /** Backends of the program's own, by the name of their model. */
  readonly backends?: Readonly<Record<string, Backend>> | undefined;
}

/** Everything that can generate: made from the configuration, replaced piece by piece when it changes. */
export class Models {
  readonly #options: ModelsOptions;
  readonly #locals = new Set<LocalBackend>();
  /** By model: the version of its llama.cpp. */
  readonly #llamaCpp = new Map<string, string>();
  readonly #extra: readonly RegistryEntry[];
  #built!: Built;
  #stopping = false;

  private constructor(options: ModelsOptions) {
    this.#options = options;
    this.#extra = extraEntries(options);
  }

  /**
   * Makes all backends; none is started.
   *
   * @throws BinaryError, ModelError, ConfigError or GroupError.
   */
  static async build(options: ModelsOptions): Promise<Models> {
    const models = new Models(options);
    models.#built = await models.#build(options.config.file);
    return models;
  }

  get registry(): Registry {
    return this.#built.registry;
  }

  /** The configuration in force. */
  get file(): ConfigFile {
    return this.#built.file;
  }

  /** Starts all backends; each serves as soon as it is ready. */
  start(): void {
    for (const backend of [...this.#built.backends, ...this.#extraBackends()]) backend.start();
  }

  /** Resolves when the first worker takes requests; at once where there are no workers. */
  get ready(): Promise<void> {
    const locals = [...this.#locals].map((backend) => backend.ready);
    return locals.length === 0 ? Promise.resolve() : Promise.race(locals);
  }

  /** Resolves when it is known of a first model whether it can be started; at once where there are no workers. */
  get started(): Promise<unknown> {
    const locals = [...this.#locals].map((backend) => backend.started);
    return locals.length === 0 ? Promise.resolve() : Promise.race(locals);
  }

  /**
   * Puts another configuration into force: what is the same goes on, what is new starts, what is gone ends when its
   * replies are finished. Requests see the new one from here on.
   *
   * @throws as `build`; then nothing has changed.
   */
  async apply(file: ConfigFile): Promise<void> {
    const previous = this.#built;
    const next = await this.#build(file, previous);
    try {
      await this.#startBeside(next);
    } catch (error) {
      await this.#retire(next.added, next, 0);
      throw error;
    }
    this.#built = next;
    void this.#retire(next.retired, previous, this.#options.config.shutdownGraceMs);
  }

  /** Starts what is new while the old still serves, so that no request finds a model that is still loading. */
  async #startBeside(next: Built): Promise<void> {
    if (this.#stopping) throw new LMServError('draining');
    for (const backend of next.added) backend.start();
    const fresh = [...this.#locals].filter((local) => isPart(next, local) && !isPart(this.#built, local));
    for (const local of fresh) {
      if (!(await local.started))
        throw new ConfigError({
          variable: `models.${local.name}`,
          message: 'its worker did not start; the log has its last words',
        });
    }
  }

  /** Stops backends of `built` and then forgets them; others may still be finishing their replies. */
  async #retire(backends: readonly Backend[], built: Built, graceMs: number): Promise<void> {
    await Promise.allSettled(backends.map((backend) => backend.stop(graceMs)));
    for (const { made, backend } of built.parts.values()) {
      if (backends.includes(backend)) this.#locals.delete(made.backend as LocalBackend);
    }
  }

  /** Of each backend, for /health. */
  status(): BackendStatus[] {
    return [...this.#built.backends, ...this.#extraBackends()].map((backend) => backend.status());
  }

  /** Of each model, for the metrics. */
  served(): ServedModel[] {
    return this.registry.entries.flatMap(({ info: { id }, backends }) =>
      backends.map((backend) => ({
        model: id,
        status: backend.status(),
        workers: backend.workers?.() ?? [],
        llamaCpp: this.#llamaCpp.get(id),
      })),
    );
  }

  /** Ends all backends, those of a former configuration included. */
  async stop(): Promise<void> {
    this.#stopping = true;
    const serving = [...this.#built.backends, ...this.#extraBackends()];
    const retired = [...this.#locals].filter((local) => !isPart(this.#built, local));
    await Promise.all([...serving, ...retired].map((backend) => backend.stop(0)));
  }

  /** Ends all workers at once. */
  kill(): void {
    for (const local of this.#locals) local.kill();
  }

  /** Process ids of the living workers. */
  pids(): number[] {
    return [...this.#locals].flatMap((local) => local.pids());
  }

  #extraBackends(): Backend[] {
    return this.#extra.flatMap((entry) => entry.backends);
  }

  async #build(file: ConfigFile, previous?: Built): Promise<Built> {
    const { config } = this.#options;
    const workers = Object.values(file.models).reduce((sum, model) => sum + model.workers, 0);
    const built = await buildRegistry(file, {
      makeLocal: (name, model) => this.#makeLocal(name, model, workers),
      makeRemote: (name, remote) => this.#makeRemote(name, remote),
      unknownModel: config.unknownModel,
      maxTokens: config.maxTokens,
      maxTokensCap: config.maxTokensCap,
      extra: this.#extra,
      standard: standardName(file, config, this.#extra),
      previous,
    });
    for (const { made } of built.parts.values()) {
      if (made.backend instanceof LocalBackend) this.#locals.add(made.backend);
    }
    return built;
  }

  async #makeRemote(name: string, remote: RemoteSettings): Promise<Made> {
    const { env, logger } = this.#options;
    const variable = remote.apiKeyEnv;
    if (variable !== undefined && !env[variable]?.trim()) {
      logger.warn(
        { event: 'remote_without_key', remote: name, variable },
        `remotes.${name}: ${variable} is not set`,
      );
    }
    const options = remoteOptions(name, remote, (wanted) => env[wanted]);
    // Loaded only where there is a remote: its HTTP client takes several MiB.
    const { RemoteBackend } = await import('../backends/remote/index.js');
    return { backend: new RemoteBackend(options, { logger }), created: Math.floor(Date.now() / 1000) };
  }

  async #makeLocal(name: string, model: ModelSettings, workers: number): Promise<Made> {
    const { config, env, logger, observer } = this.#options;
    const binary = await resolveBinary({
      root: ROOT,
      env,
      ...configured(model.binPath ?? config.binPath),
      ...(env.PATH === undefined ? {} : { searchPath: env.PATH }),
    });
    const modelPath = await this.#modelFile(model.path);
    const pool = new Pool({
      name,
      workers: model.workers,
      worker: {
        ...model,
        binary,
        modelPath,
        slots: chooseSlots(model, workers, binary.path),
        ctxSize: model.context,
        threads: chooseThreads(model, workers),
        cacheRamMb: Math.floor((model.cacheRamMb ?? defaultCacheMb()) / model.workers),
        timeouts: config.timeouts,
      },
      gpus: model.gpus,
      recycling: config.recycling,
      queueLimit: config.queueLimit,
      queueTimeoutMs: config.queueTimeoutMs,
      env,
      logger,
      observer,
    });
    logger.info({ event: 'model', model: name, binary: binary.kind, llamaCpp: binary.version }, 'model');
    this.#llamaCpp.set(name, binary.version);
    const backend = new LocalBackend(name, pool, logger, {
      resume: { enabled: config.replyResume, timeoutMs: config.resumeTimeoutMs },
      promptCache: config.promptCache,
      rejectSpecialTokens: config.specialTokens === 'reject',
      observer,
    });
    return { backend, created: Math.floor(statSync(modelPath).mtimeMs / 1000) };
  }

  /** A model of the hub's is fetched once; afterwards its file is found without the network. */
  async #modelFile(path: string): Promise<string> {
    const { env } = this.#options;
    if (!path.startsWith('hf:')) return path;
    // Loaded only for a model of the hub's, as the remotes are.
    const { ensureModel } = await import('../install/models/ensure.js');
    return ensureModel(path, {
      modelsDir: join(ROOT, 'models'),
      ...(env.HF_ENDPOINT ? { endpoint: env.HF_ENDPOINT } : {}),
      ...(env.HF_TOKEN ? { token: env.HF_TOKEN } : {}),
    });
  }
}

function isPart(built: Built, local: LocalBackend): boolean {
  return [...built.parts.values()].some(({ made }) => made.backend === local);
}

function configured(path: string | undefined): { configured?: string } {
  return path === undefined ? {} : { configured: path };
}

/** An eighth of the memory that is free now: enough for a few conversations, never a surprise. MiB. */
function defaultCacheMb(): number {
  return Math.min(8192, Math.floor(freemem() / 2 ** 20 / 8));
}

/** The program's own backends, and the mock where it was asked for. */
function extraEntries({ config, backends = {} }: ModelsOptions): RegistryEntry[] {
  const custom = Object.entries(backends).map(
    ([name, backend]) => [name, new CustomBackend(name, backend)] as const,
  );
  const named = new Map<string, Backend>(custom);
  if (config.provider === 'mock') named.set('mock', new MockBackend());
  return [...named].map(([name, backend]) => ({
    info: { id: name, created: Math.floor(Date.now() / 1000), ownedBy: 'lmserv' },
    aliases: [],
    backends: [backend],
    maxTokens: { standard: config.maxTokens, cap: config.maxTokensCap ?? Number.MAX_SAFE_INTEGER },
    providers: [name],
  }));
}

/** The model for requests that name none, where the command line or LLM_CONNECT_ says it; else the file decides. */
function standardName(file: ConfigFile, config: Config, extra: readonly RegistryEntry[]): string | undefined {
  const { defaultModel, provider } = config;
  if (defaultModel !== undefined) {
    const names = [
      ...Object.keys({ ...file.models, ...file.remotes, ...file.groups }),
      ...extra.map((e) => e.info.id),
    ];
    if (names.includes(defaultModel)) return defaultModel;
    throw new ConfigError({
      variable: 'LLM_CONNECT_MODEL',
      message: `there is no model ${defaultModel}; there are ${names.join(', ')}`,
    });
  }
  if (provider === 'local') return undefined;
  const own = extra.find((entry) => entry.info.id === provider)?.info.id;
  const remote = Object.entries(file.remotes).find(
    ([name, settings]) => (settings.provider ?? name) === provider,
  );
  const found = own ?? remote?.[0];
  if (found === undefined) {
    throw new ConfigError({
      variable: 'LLM_CONNECT_PROVIDER',
      message: `${provider} is neither local, mock nor a provider of the configuration file`,
    });
  }
  return found;
}
