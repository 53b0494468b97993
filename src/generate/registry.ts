import type { Backend, ModelInfo } from '../contract.js';
import { LMServError } from '../errors.js';
import type { Resolve, TokenLimits } from './generate.js';

/** A name that requests may use. */
export interface RegistryEntry {
  readonly info: ModelInfo;
  readonly aliases: readonly string[];
  readonly backends: readonly Backend[];
  readonly maxTokens: TokenLimits;
}

/** All models and groups by name. The first entry is the default. Names are looked up exactly, never as paths. */
export class Registry {
  readonly #byName = new Map<string, RegistryEntry>();

  constructor(
    readonly entries: readonly RegistryEntry[],
    private readonly unknownModel: '404' | 'default',
  ) {
    for (const entry of entries) {
      for (const name of [entry.info.id, ...entry.aliases]) this.#byName.set(name, entry);
    }
  }

  /** @throws LMServError `model_not_found`. */
  readonly resolve: Resolve = (model, unknownModel) => {
    const lenient = (unknownModel ?? this.unknownModel) === 'default';
    const entry =
      model === undefined
        ? this.entries[0]
        : (this.#byName.get(model) ?? (lenient ? this.entries[0] : undefined));
    if (!entry) throw new LMServError('model_not_found', undefined, { param: 'model' });
    return { model: entry.info.id, backends: entry.backends, maxTokens: entry.maxTokens };
  };

  /** What `/v1/models` lists: each id and each alias. */
  list(): ModelInfo[] {
    return this.entries.flatMap(({ info, aliases }) => [info, ...aliases.map((id) => ({ ...info, id }))]);
  }
}
