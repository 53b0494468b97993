import { isDeepStrictEqual } from 'node:util';
import { PulledBackend } from '../backends/custom.js';
import type { LocalBackend } from '../backends/local/backend.js';
import { MockBackend } from '../backends/mock/backend.js';
import { remoteOptions } from '../config/file/remote-options.js';
import type { ConfigFile, ModelSettings, RemoteSettings } from '../config/file/schema.js';
import { ConfigError, type Config } from '../config/load.js';
import type { Backend, BackendStatus, CustomBackend, ModelControl, RequestDefaults } from '../contract.js';
import { LMServError } from '../errors.js';
import { NO_CAP } from '../generate/generate.js';
import { Registry, type GroupEntry, type RegistryEntry } from '../generate/registry.js';
import type { Amounts } from '../memory/amounts.js';
import { FixedBudget, MachineBudget } from '../memory/budget.js';
import { ModelMemoryControl, type ModelSettings as Residence, type SleepingPool } from '../memory/control.js';
import type { Logger } from '../observe/logger.js';
import type { ServedModel } from '../observe/metrics/served-models.js';
import type { PoolObserver } from '../observe/pool-observer.js';
import type { SavedSlots } from '../slots/model-slots.js';
import { DeviceMemories, type DeviceUse } from './device-memory.js';
import { binaryFinder, makeLocalModel, type FindBinary, type LocalModelOptions } from './local-model.js';

export interface BackendsOptions {
  readonly config: Config;
  readonly env: NodeJS.ProcessEnv;
  readonly logger: Logger;
  /** Receives what happens in the pools. */
  readonly observer?: PoolObserver | undefined;
  /** Backends of the program that embeds LMServ, by model name. */
  readonly backends?: Readonly<Record<string, CustomBackend>> | undefined;
  /** Where slots of workers are saved. */
  readonly slots?: SavedSlots | undefined;
}

/** A model or a remote of the configuration file. */
export type BackendSpec =
  | { readonly kind: 'local'; readonly name: string; readonly settings: ModelSettings }
  | { readonly kind: 'remote'; readonly name: string; readonly settings: RemoteSettings };

/** A backend with the facts known when it was made. */
export interface BackendRecord {
  readonly backend: Backend;
  /** The same backend if it is a pool of local workers. */
  readonly local?: LocalBackend;
  /** Unix time of the model, seconds, for `/v1/models`. */
  readonly created: number;
  /** The version of llama.cpp that the workers run. */
  readonly llamaCpp?: string;
  /** What a pool will hold in memory, before llama.cpp has said so. */
  readonly estimate?: Amounts;
  /** Where a pool may take it. */
  readonly devices?: DeviceUse;
}

/** Makes a backend without starting it. @param workers of all local models together. */
export type MakeBackend = (
  spec: BackendSpec,
  workers: number,
  findBinary: FindBinary,
) => Promise<BackendRecord>;

/** A backend of the program or of the configuration file, under the name of its model. */
interface NamedBackend {
  /** Absent for backends of the program, which do not depend on the file. */
  readonly spec?: BackendSpec;
  readonly entry: RegistryEntry;
  readonly record: BackendRecord;
}

/** The parts of the configuration in force. */
interface Serving {
  readonly file: ConfigFile;
  readonly registry: Registry;
  /** Models, then remotes, then backends of the program. */
  readonly backends: readonly NamedBackend[];
}

/** Everything that can generate: made from the configuration, and replaced piece by piece when it changes. */
export class Backends {
  readonly #options: BackendsOptions;
  readonly #make: MakeBackend;
  readonly #own: readonly NamedBackend[];
  readonly #memory: ModelMemoryControl;
  /** All backends that have not ended, including those of former configurations. */
  readonly #alive = new Set<BackendRecord>();
  #serving: Serving = { file: NO_FILE, registry: new Registry([], '404'), backends: [] };
  #stopping = false;

  private constructor(options: BackendsOptions, devices: DeviceMemories, make: MakeBackend) {
    this.#options = options;
    this.#make = make;
    this.#own = ownBackends(options);
    const uses = () => [...this.#alive].flatMap((record) => record.devices ?? []);
    this.#memory = controlMemory(options, () => devices.free(uses()));
    for (const { record } of this.#own) this.#alive.add(record);
  }

  /**
   * Makes all backends; none is started.
   *
   * @throws BinaryError, ModelError, ConfigError or GroupError.
   */
  static async create(options: BackendsOptions, make?: MakeBackend): Promise<Backends> {
    const devices = new DeviceMemories(options.env);
    const makeReal: MakeBackend = (spec, workers, findBinary) =>
      makeBackend(spec, workers, { ...options, devices, findBinary });
    const backends = new Backends(options, devices, make ?? makeReal);
    backends.#serve(await backends.#prepare(options.config.file));
    return backends;
  }

  get registry(): Registry {
    return this.#serving.registry;
  }

  /** The configuration in force. */
  get file(): ConfigFile {
    return this.#serving.file;
  }

  /** Which local models are in memory. */
  get memory(): ModelControl {
    return this.#memory;
  }

  /** Starts all backends; each serves as soon as it is ready. */
  start(): void {
    for (const { record } of this.#serving.backends) if (!record.local) record.backend.start();
    this.#memory.start();
  }

  /** Resolves when the first worker takes requests; at once if no model is loaded at the start. */
  get ready(): Promise<void> {
    const locals = this.#loadedAtStart().map((local) => local.ready);
    return locals.length === 0 ? Promise.resolve() : Promise.race(locals);
  }

  /** Resolves when the first model has started or failed to start; at once if none is loaded at the start. */
  get started(): Promise<unknown> {
    const locals = this.#loadedAtStart().map((local) => local.started);
    return locals.length === 0 ? Promise.resolve() : Promise.race(locals);
  }

  /**
   * Puts another configuration into force: unchanged backends stay, new ones start, and removed ones end when their
   * replies are finished. Requests see the new configuration once this resolves.
   *
   * @throws as `create`, and leaves everything unchanged.
   */
  async apply(file: ConfigFile): Promise<void> {
    const previous = this.#serving;
    const next = await this.#prepare(file);
    const added = missingFrom(previous, next);
    try {
      await this.#startBeside(added, residences(next));
    } catch (error) {
      await this.#end(added, 0);
      throw error;
    }
    this.#serve(next);
    void this.#end(missingFrom(next, previous), this.#options.config.shutdownGraceMs);
  }

  /** Resolves when all is learned of the running models that can be. */
  async learned(): Promise<void> {
    const locals = this.#serving.backends.flatMap(({ record }) => record.local ?? []);
    await Promise.all(locals.map((local) => local.learned()));
  }

  /** Of each backend, for /health. */
  status(): BackendStatus[] {
    return this.#serving.backends.map(({ record }) => record.backend.status());
  }

  /** Of each model, for the metrics. */
  served(): ServedModel[] {
    const memory = new Map(this.#memory.models().map((model) => [model.id, model]));
    return this.#serving.backends.map(({ entry, record: { backend, llamaCpp } }) => ({
      model: entry.info.id,
      status: backend.status(),
      workers: backend.workers?.() ?? [],
      llamaCpp,
      memoryBytes: memory.get(entry.info.id)?.bytes,
    }));
  }

  /** What local models may hold together, and what those in memory hold, bytes. */
  get memoryFigures(): { readonly budget: number; readonly held: number } {
    return this.#memory.figures;
  }

  /** Ends all backends, including those of former configurations. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#memory.stop();
    await Promise.all([...this.#alive].map(({ backend }) => backend.stop(0)));
  }

  /** Ends all workers at once. */
  kill(): void {
    this.#memory.stop();
    for (const local of this.#locals()) local.kill();
  }

  /** Process ids of the running workers. */
  pids(): number[] {
    return this.#locals().flatMap((local) => local.pids());
  }

  #locals(): LocalBackend[] {
    return [...this.#alive].flatMap(({ local }) => local ?? []);
  }

  #loadedAtStart(): LocalBackend[] {
    return this.#locals().filter(({ pool }) => this.#memory.isLoadedAtStart(pool));
  }

  #serve(next: Serving): void {
    this.#serving = next;
    this.#memory.configure(residences(next));
  }

  /** Makes the backends that a configuration needs and keeps the current ones that it does not change. */
  async #prepare(file: ConfigFile): Promise<Serving> {
    const { config } = this.#options;
    // Models whose files were found do not all run at once.
    const configured = Object.values(file.models).filter((model) => model.found !== true);
    const workers = configured.reduce((sum, model) => sum + model.workers, 0);
    const findBinary = binaryFinder(this.#options.env);
    const made: BackendRecord[] = [];
    const make = async (spec: BackendSpec) => {
      const record = await this.#make(spec, workers, findBinary);
      this.#alive.add(record);
      const { local, estimate = {} } = record;
      if (local) this.#memory.add({ id: local.name, pool: local.pool, estimate });
      made.push(record);
      return record;
    };
    try {
      const defaultName = this.#defaultName(file);
      const backends: NamedBackend[] = [];
      for (const spec of specs(file)) {
        const record = this.#unchanged(spec) ?? (await make(spec));
        backends.push({ spec, record, entry: toEntry(spec, record, file, config) });
      }
      backends.push(...this.#own);
      return { file, backends, registry: toRegistry(file, backends, config, defaultName) };
    } catch (error) {
      await this.#end(made, 0);
      throw error;
    }
  }

  /** The backend in force that was made from the same settings. */
  #unchanged(spec: BackendSpec): BackendRecord | undefined {
    return this.#serving.backends.find((named) => named.spec && isSameBackend(named.spec, spec))?.record;
  }

  /**
   * Starts new backends while the old ones still serve. What was in memory stays there where its successor fits beside
   * it, so that no request waits for a load.
   */
  async #startBeside(
    added: readonly BackendRecord[],
    settings: ReadonlyMap<SleepingPool, Residence>,
  ): Promise<void> {
    if (this.#stopping) throw new LMServError('draining');
    for (const { backend, local } of added) if (!local) backend.start();
    for (const { local } of added) {
      if (local && !(await this.#memory.prepare(local.pool, settings.get(local.pool)!)))
        throw new ConfigError({
          variable: `models.${local.name}`,
          message: 'its worker did not start; see its last lines in the log',
        });
    }
  }

  /** Stops backends; their replies have `graceMs` milliseconds to finish. Never rejects. */
  async #end(records: readonly BackendRecord[], graceMs: number): Promise<void> {
    await Promise.allSettled(
      records.map(async ({ backend, local }) => {
        await backend.stop(graceMs);
        if (local) await this.#memory.remove(local.pool);
      }),
    );
    for (const record of records) this.#alive.delete(record);
  }

  /**
   * The name for requests that name none: LLM_CONNECT_MODEL or the model of LLM_CONNECT_PROVIDER, otherwise the file's
   * default, otherwise `default`.
   *
   * @throws ConfigError for a variable that names something unknown.
   */
  #defaultName(file: ConfigFile): string {
    const { defaultModel, provider } = this.#options.config;
    const own = this.#own.map(({ entry }) => entry.info.id);
    if (defaultModel !== undefined) {
      const names = [...Object.keys({ ...file.models, ...file.remotes, ...file.groups }), ...own];
      if (names.includes(defaultModel)) return defaultModel;
      throw new ConfigError({
        variable: 'LLM_CONNECT_MODEL',
        message: `there is no model ${defaultModel}; there are ${names.join(', ')}`,
      });
    }
    if (provider === 'local') return file.default ?? 'default';
    if (own.includes(provider)) return provider;
    const remote = Object.entries(file.remotes).find(
      ([name, settings]) => (settings.provider ?? name) === provider,
    );
    if (remote) return remote[0];
    throw new ConfigError({
      variable: 'LLM_CONNECT_PROVIDER',
      message: `${provider} is neither local, mock nor a provider of the configuration file`,
    });
  }
}

const NO_FILE: ConfigFile = { models: {}, remotes: {}, groups: {}, tenants: {} };

function controlMemory(
  { config, logger, observer }: BackendsOptions,
  freeOnDevices: () => Promise<Amounts>,
): ModelMemoryControl {
  const { memoryBytes, modelIdleMs: idleMs, queueTimeoutMs } = config;
  const budget = memoryBytes > 0 ? new FixedBudget(memoryBytes) : new MachineBudget(freeOnDevices);
  return new ModelMemoryControl({ budget, idleMs, queueTimeoutMs, logger, observer });
}

/** How the local models of a configuration stay in memory. */
function residences({ registry, backends }: Serving): Map<SleepingPool, Residence> {
  const { defaultModels } = registry;
  return new Map(
    backends.flatMap(({ spec, record: { backend, local } }) => {
      if (!local || spec?.kind !== 'local') return [];
      const { pin = false, preload = false } = spec.settings;
      return [[local.pool, { isDefault: defaultModels.includes(backend.name), pin, preload }]];
    }),
  );
}

function missingFrom(serving: Serving, other: Serving): BackendRecord[] {
  const present = new Set(serving.backends.map(({ record }) => record));
  return other.backends.map(({ record }) => record).filter((record) => !present.has(record));
}

/** The models and remotes of the file, in its order. */
function specs({ models, remotes }: ConfigFile): BackendSpec[] {
  return [
    ...Object.entries(models).map(([name, settings]) => ({ kind: 'local', name, settings }) as const),
    ...Object.entries(remotes).map(([name, settings]) => ({ kind: 'remote', name, settings }) as const),
  ];
}

/** Settings that only the registry and the memory use, so a change to them keeps the running backend. */
const REGISTRY_SETTINGS = [
  ...['aliases', 'price', 'maxTokens', 'maxTokensCap', 'provider'],
  ...['sampling', 'system', 'pin', 'preload', 'found'],
];

function isSameBackend(a: BackendSpec, b: BackendSpec): boolean {
  // The file of a model of the hub is not known before it has been fetched.
  const known = [a, b].every(({ settings }) => 'revision' in settings);
  const ignored = known ? REGISTRY_SETTINGS : [...REGISTRY_SETTINGS, 'revision'];
  const [left, right] = [a, b].map(({ kind, name, settings }) => {
    const own = Object.entries(settings).filter(([field]) => !ignored.includes(field));
    return { kind, name, settings: Object.fromEntries(own) };
  });
  return isDeepStrictEqual(left, right);
}

async function makeBackend(
  spec: BackendSpec,
  workers: number,
  options: BackendsOptions & Pick<LocalModelOptions, 'devices' | 'findBinary'>,
): Promise<BackendRecord> {
  const { name, kind, settings } = spec;
  return kind === 'local'
    ? makeLocalModel(name, settings, workers, options)
    : makeRemote(name, settings, options);
}

async function makeRemote(
  name: string,
  remote: RemoteSettings,
  { env, logger }: BackendsOptions,
): Promise<BackendRecord> {
  const variable = remote.apiKeyEnv;
  if (variable !== undefined && !env[variable]?.trim()) {
    logger.warn(
      { event: 'remote_without_key', remote: name, variable },
      `remotes.${name}: ${variable} is not set`,
    );
  }
  const options = remoteOptions(name, remote, (wanted) => env[wanted]);
  // Loaded only if there is a remote: its HTTP client takes several MiB.
  const { RemoteBackend } = await import('../backends/remote/backend.js');
  return { backend: new RemoteBackend(options, { logger }), created: unixTime() };
}

/** The backends of the program, and the mock if it is configured. */
function ownBackends({ config, backends = {} }: BackendsOptions): NamedBackend[] {
  const named = { ...backends, ...(config.provider === 'mock' ? { mock: new MockBackend() } : {}) };
  return Object.entries(named).map(([name, inner]) => {
    const record = { backend: new PulledBackend(name, inner), created: unixTime() };
    const limits = { default: config.maxTokens, cap: config.maxTokensCap ?? NO_CAP };
    return { record, entry: { ...baseEntry(name, record), maxTokens: limits, providers: [name] } };
  });
}

function unixTime(): number {
  return Math.floor(Date.now() / 1000);
}

function toEntry(spec: BackendSpec, record: BackendRecord, file: ConfigFile, config: Config): RegistryEntry {
  const { name, kind, settings } = spec;
  const { aliases, price, sampling, system } = settings;
  const cap = kind === 'local' ? settings.context : NO_CAP;
  return {
    ...baseEntry(name, record),
    aliases: aliases.map((alias) => alias.name),
    defaults: { sampling, system },
    aliasDefaults: aliasDefaults(settings),
    maxTokens: {
      default: settings.maxTokens ?? file.maxTokens ?? config.maxTokens,
      cap: settings.maxTokensCap ?? file.maxTokensCap ?? config.maxTokensCap ?? cap,
    },
    price: price && { promptPer1k: price.prompt, completionPer1k: price.completion },
    providers: kind === 'local' ? ['local'] : ['cloud', settings.provider ?? name],
    upstream: kind === 'remote' ? settings.model : undefined,
  };
}

/** An alias has the model's defaults where it has none of its own. */
function aliasDefaults({
  aliases,
  ...model
}: ModelSettings | RemoteSettings): ReadonlyMap<string, RequestDefaults> {
  const own = aliases.filter(({ sampling, system }) => sampling !== undefined || system !== undefined);
  return new Map(
    own.map(({ name, sampling, system = model.system }) => [
      name,
      { sampling: { ...model.sampling, ...sampling }, system },
    ]),
  );
}

function baseEntry(name: string, { backend, created }: BackendRecord) {
  return { info: { id: name, created, ownedBy: 'lmserv' }, aliases: [], backends: [backend] };
}

/** Names that clients of other systems send; they mean the default model unless something else has them. */
const DEFAULT_NAMES = ['default', 'fast', 'quality'];

/** @param defaultName of the default model or group; the first model is the default if nothing has that name. */
function toRegistry(
  file: ConfigFile,
  backends: readonly NamedBackend[],
  config: Config,
  defaultName: string,
): Registry {
  const models = backends.map(({ entry }) => ({ ...entry, name: entry.info.id }));
  const groups = Object.entries(file.groups).map(
    ([name, { members, fallback, aliases, firstTokenSecs }]): GroupEntry => ({
      name,
      members,
      fallback,
      aliases,
      firstTokenMs: firstTokenSecs * 1000,
    }),
  );
  const all = [...models, ...groups].map(({ name, aliases }) => ({ name, names: [name, ...aliases] }));
  const defaultTarget = (all.find(({ names }) => names.includes(defaultName)) ?? all[0]!).name;
  const taken = new Set(all.flatMap(({ names }) => names));
  const free = DEFAULT_NAMES.filter((name) => !taken.has(name));
  const named = <T extends { readonly name: string; readonly aliases: readonly string[] }>(target: T): T =>
    target.name === defaultTarget ? { ...target, aliases: [...target.aliases, ...free] } : target;
  return new Registry(models.map(named), config.unknownModel, {
    groups: groups.map(named),
    defaultName: defaultTarget,
  });
}
