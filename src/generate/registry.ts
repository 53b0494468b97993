import type { Backend, ModelInfo, Price } from '../contract.js';
import { LMServError } from '../errors.js';
import type { Resolve, Resolved, TokenLimits } from './generate.js';
import { flattenGroups, type Group } from './groups.js';

/** A model: a name that requests may use, and what serves it. */
export interface RegistryEntry {
  readonly info: ModelInfo;
  readonly aliases: readonly string[];
  /** In the order they are tried; mostly one. */
  readonly backends: readonly Backend[];
  readonly maxTokens: TokenLimits;
  /** Absent: it costs nothing. */
  readonly price?: Price | undefined;
  /** The names of providers it belongs to, which a request may ask for: `local`, `cloud`, `openrouter`, … */
  readonly providers?: readonly string[];
  /** What the provider itself calls it; found by requests that name the provider too. */
  readonly upstream?: string | undefined;
}

/** A group: a name that requests may use for several models, tried in order. */
export interface GroupEntry extends Group {
  readonly name: string;
  readonly aliases: readonly string[];
  /** Longest time to the first token over all members, milliseconds. */
  readonly firstTokenMs?: number | undefined;
}

export interface RegistryOptions {
  readonly groups?: readonly GroupEntry[];
  /** Name of the model or group that serves requests which name none; the first entry by default. */
  readonly standard?: string | undefined;
}

/** One name that can be asked for. */
interface Target {
  readonly info: ModelInfo;
  readonly aliases: readonly string[];
  readonly resolved: Resolved;
}

/** All models and groups by name. Names are looked up exactly, never as paths. */
export class Registry {
  readonly #byName = new Map<string, Target>();
  readonly #targets: readonly Target[];
  readonly #models = new Map<string, RegistryEntry>();
  readonly #standard: Target | undefined;

  /** @throws GroupError when a group names what is not there or comes back to itself. */
  constructor(
    readonly entries: readonly RegistryEntry[],
    private readonly unknownModel: '404' | 'default',
    { groups = [], standard }: RegistryOptions = {},
  ) {
    for (const entry of entries) this.#models.set(entry.info.id, entry);
    this.#targets = [...entries.map(modelTarget), ...this.#groupTargets(groups)];
    for (const target of this.#targets) {
      for (const name of [target.info.id, ...target.aliases]) this.#byName.set(name, target);
    }
    this.#standard = standard === undefined ? this.#targets[0] : this.#byName.get(standard);
  }

  /** Id of the model or group that serves requests which name none; undefined when there is none at all. */
  get standardId(): string | undefined {
    return this.#standard?.info.id;
  }

  /** Whether a model or group goes by that name. */
  has(name: string): boolean {
    return this.#byName.has(name);
  }

  /** @throws LMServError `model_not_found`; `configuration_error` for a provider that no model belongs to. */
  readonly resolve: Resolve = (model, unknownModel, provider) => {
    const lenient = (unknownModel ?? this.unknownModel) === 'default';
    const target =
      provider === undefined ? this.#find(model, lenient) : this.#findAt(provider, model, lenient);
    if (!target) throw new LMServError('model_not_found', undefined, { param: 'model' });
    return target.resolved;
  };

  /** The price of a model by its id, as `Trace.model` has it; undefined when it costs nothing. */
  priceOf(model: string): Price | undefined {
    return this.#models.get(model)?.price;
  }

  /** What `/v1/models` lists: each id and each alias, models first. */
  list(): ModelInfo[] {
    return this.#targets.flatMap(({ info, aliases }) => [info, ...aliases.map((id) => ({ ...info, id }))]);
  }

  #find(model: string | undefined, lenient: boolean): Target | undefined {
    if (model === undefined) return this.#standard;
    return this.#byName.get(model) ?? (lenient ? this.#standard : undefined);
  }

  #findAt(provider: string, model: string | undefined, lenient: boolean): Target | undefined {
    const its = this.entries.filter((entry) => entry.providers?.includes(provider));
    const [first] = its;
    if (!first) {
      const message = `The provider ${JSON.stringify(provider)} is not configured`;
      throw new LMServError('configuration_error', message, { param: 'provider' });
    }
    const found = its.find(
      ({ info, aliases, upstream }) =>
        info.id === model || upstream === model || aliases.some((alias) => alias === model),
    );
    const entry = found ?? (model === undefined || lenient ? first : undefined);
    return entry && this.#byName.get(entry.info.id);
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
    };
  }
}

function modelTarget(entry: RegistryEntry): Target {
  const { info, aliases } = entry;
  return { info, aliases, resolved: { members: membersOf(entry) } };
}

function membersOf({ info, backends, maxTokens }: RegistryEntry): Resolved['members'] {
  return backends.map((backend) => ({ model: info.id, backend, maxTokens }));
}
