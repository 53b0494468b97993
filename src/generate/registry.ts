import type { Backend, Capability, ModelInfo, Price, RequestDefaults } from '../contract.js';
import { LMServError } from '../errors.js';
import type { Resolve, Resolved, TokenLimits } from './generate.js';
import { flattenGroups, type Group } from './groups.js';
import { factsOf, modelDetails } from './model-details.js';

/** A model: a name that requests may use, and its backends. */
export interface RegistryEntry {
  readonly info: ModelInfo;
  readonly aliases: readonly string[];
  /** In the order they are tried; usually one. */
  readonly backends: readonly Backend[];
  readonly maxTokens: TokenLimits;
  readonly defaults?: RequestDefaults | undefined;
  /** Of aliases that have their own, instead of the model's. */
  readonly aliasDefaults?: ReadonlyMap<string, RequestDefaults> | undefined;
  /** Free if absent. */
  readonly price?: Price | undefined;
  /** Names of the providers it belongs to, which a request may name: `local`, `cloud`, `openrouter`, … */
  readonly providers?: readonly string[];
  /** Its name at the provider, which requests that name the provider may use too. */
  readonly upstream?: string | undefined;
}

/** A group: a name that requests may use for several models, tried in order. */
export interface GroupEntry extends Group {
  readonly name: string;
  readonly aliases: readonly string[];
  /** Max time to the first token over all members, milliseconds. */
  readonly firstTokenMs?: number | undefined;
}

export interface RegistryOptions {
  readonly groups?: readonly GroupEntry[];
  /** Name of the model or group for requests without one; the first entry by default. */
  readonly defaultName?: string | undefined;
}

/** A model or group that requests can name. */
interface Target {
  readonly info: ModelInfo;
  readonly aliases: readonly string[];
  readonly resolved: Resolved;
  readonly isGroup: boolean;
}

const LATEST = ':latest';

/** All models and groups by name. Names are looked up exactly but for `:latest`, never as paths. */
export class Registry {
  readonly #byName = new Map<string, Target>();
  readonly #targets: readonly Target[];
  readonly #models = new Map<string, RegistryEntry>();
  readonly #unknownModel: '404' | 'default';
  readonly #default: Target | undefined;

  /** @throws GroupError when a group names something that does not exist or refers back to itself. */
  constructor(
    readonly entries: readonly RegistryEntry[],
    unknownModel: '404' | 'default',
    { groups = [], defaultName }: RegistryOptions = {},
  ) {
    this.#unknownModel = unknownModel;
    for (const entry of entries) this.#models.set(entry.info.id, entry);
    this.#targets = [...entries.map(modelTarget), ...this.#groupTargets(groups)];
    for (const target of this.#targets) {
      for (const name of [target.info.id, ...target.aliases]) this.#byName.set(name, target);
    }
    for (const entry of entries) {
      for (const [alias, defaults] of entry.aliasDefaults ?? [])
        this.#byName.set(alias, modelTarget({ ...entry, defaults }));
    }
    this.#default = defaultName === undefined ? this.#targets[0] : this.#byName.get(defaultName);
  }

  /** Id of the model or group for requests that name none; undefined if there are no models. */
  get defaultId(): string | undefined {
    return this.#default?.info.id;
  }

  /** Whether any model may take images; only a model's own workers tell that it takes none. */
  get takesImages(): boolean {
    const backends = this.entries.flatMap((entry) => entry.backends);
    return backends.some((backend) => {
      const able = backend.facts?.().capabilities ?? ['chat'];
      return able.includes('images') || (backend.workers === undefined && able.includes('chat'));
    });
  }

  /** Ids of the models for requests that name none: one, or those of a group. */
  get defaultModels(): string[] {
    return this.#default?.resolved.members.map(({ model }) => model) ?? [];
  }

  /** Whether there is a model or group of that name. */
  has(name: string): boolean {
    return this.#named(name) !== undefined;
  }

  /** Ids of the models that a name means; none if there is no such name. */
  modelsOf(name: string): string[] {
    return this.#named(name)?.resolved.members.map(({ model }) => model) ?? [];
  }

  /**
   * @throws LMServError `model_not_found`; `configuration_error` for a provider without models; `invalid_value` for a
   *   model that lacks the capability.
   */
  readonly resolve: Resolve = (model, unknownModel, provider, capability) => {
    const lenient = (unknownModel ?? this.#unknownModel) === 'default';
    const target =
      provider === undefined ? this.#find(model, lenient) : this.#findAt(provider, model, lenient);
    if (!target) throw new LMServError('model_not_found', undefined, { param: 'model' });
    if (capability === undefined) return target.resolved;
    const isNamed = provider !== undefined || (model !== undefined && this.has(model));
    return this.#able(target, isNamed, capability);
  };

  /** The price of a model by its id, as in `Trace.model`; undefined if it is free. */
  priceOf(model: string): Price | undefined {
    return this.#models.get(model)?.price;
  }

  /** What `/v1/models` lists: each id and each alias, models first. */
  list(): ModelInfo[] {
    return this.#targets.flatMap(({ info, aliases, resolved, isGroup }) => {
      const listed = { ...info, details: modelDetails(resolved.members, isGroup) };
      return [listed, ...aliases.map((id) => ({ ...listed, id }))];
    });
  }

  /** The members of a target that can do something, or, if the client did not name it, those of the first that can. */
  #able({ info, resolved }: Target, isNamed: boolean, capability: Capability): Resolved {
    const own = having(capability, resolved);
    if (own.members.length > 0) return own;
    const others = this.#targets.filter((other) => having(capability, other.resolved).members.length > 0);
    if (others[0] && !isNamed) return having(capability, others[0].resolved);
    const able = others.map((other) => other.info.id).join(', ');
    const hint = able === '' ? 'and no model here can' : `these models can: ${able}`;
    const message = `model: ${info.id} cannot ${DEEDS[capability] ?? capability}; ${hint}`;
    throw new LMServError('invalid_value', message, { param: 'model' });
  }

  #find(model: string | undefined, lenient: boolean): Target | undefined {
    if (model === undefined) return this.#default;
    return this.#named(model) ?? (lenient ? this.#default : undefined);
  }

  /** Ollama's clients add the tag `latest` to a name, or leave it out. */
  #named(name: string): Target | undefined {
    const other = name.endsWith(LATEST) ? name.slice(0, -LATEST.length) : name + LATEST;
    return this.#byName.get(name) ?? this.#byName.get(other);
  }

  #findAt(provider: string, model: string | undefined, lenient: boolean): Target | undefined {
    const models = this.entries.filter((entry) => entry.providers?.includes(provider));
    const [first] = models;
    if (!first) {
      const message = `The provider ${JSON.stringify(provider)} is not configured`;
      throw new LMServError('configuration_error', message, { param: 'provider' });
    }
    const found = models.find(
      ({ info, aliases, upstream }) =>
        info.id === model || upstream === model || aliases.some((alias) => alias === model),
    );
    if (found) return this.#byName.get(found.upstream === model ? found.info.id : model!);
    return model === undefined || lenient ? this.#byName.get(first.info.id) : undefined;
  }

  #groupTargets(groups: readonly GroupEntry[]): Target[] {
    const byName = new Map(groups.map((group) => [group.name, group]));
    const flat = flattenGroups(byName, (name) => this.#models.has(name));
    return groups.map((group) => this.#groupTarget(group, flat.get(group.name)!));
  }

  #groupTarget({ name, aliases, firstTokenMs }: GroupEntry, models: readonly string[]): Target {
    const entries = models.map((model) => this.#models.get(model)!);
    const created = Math.max(...entries.map((entry) => entry.info.created));
    return {
      info: { id: name, created, ownedBy: 'lmserv' },
      aliases,
      resolved: { members: entries.flatMap(membersOf), firstTokenMs },
      isGroup: true,
    };
  }
}

const DEEDS: Partial<Record<Capability, string>> = {
  completion: 'complete a prompt',
  embed: 'make embeddings',
  rerank: 'rerank documents',
};

function having(capability: Capability, resolved: Resolved): Resolved {
  const members = resolved.members.filter(({ backend }) =>
    factsOf(backend).capabilities.includes(capability),
  );
  return { ...resolved, members };
}

function modelTarget(entry: RegistryEntry): Target {
  const { info, aliases } = entry;
  return { info, aliases, resolved: { members: membersOf(entry) }, isGroup: false };
}

function membersOf({ info, backends, maxTokens, defaults }: RegistryEntry): Resolved['members'] {
  return backends.map((backend) => ({ model: info.id, backend, maxTokens, defaults }));
}
