import type { Caller, GenerateRequest, KeepAlive, ModelControl } from '../contract.js';
import type { Resolve } from './generate.js';

/** Who asks, and whether that is an admin. */
export interface Guest {
  readonly caller: Caller;
  readonly mayManage: boolean;
}

export interface ResidenceOptions {
  readonly resolve: Resolve;
  readonly memory: ModelControl;
  /** Whether a model is not unloaded for being idle, as the default ones are not. */
  readonly isDefault: (model: string) => boolean;
  /** How long a use by another caller keeps a model from being unloaded, milliseconds; 0: for ever. */
  readonly idleMs: number;
  /** Monotonic, milliseconds. */
  readonly now?: (() => number) | undefined;
}

/** What says which model a request means. */
type Named = Pick<GenerateRequest, 'model' | 'unknownModel' | 'provider'>;

/** What clients may decide about models in memory: they load them, and end a stay that nobody else needs. */
export class Residence {
  readonly #options: ResidenceOptions;
  readonly #now: () => number;
  readonly #uses = new Map<string, Use>();

  constructor(options: ResidenceOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  /** Notes that a caller's request to a model has ended. */
  used(model: string, caller: Caller): void {
    const last = this.#uses.get(model);
    const name = nameOf(caller);
    const otherAt = last === undefined || last.name === name ? last?.otherAt : last.at;
    this.#uses.set(model, { name, at: this.#now(), otherAt });
  }

  /** Loads the model of a request, the first one of a group, which counts as a use of it. @throws LMServError, or the signal's reason. */
  async load(request: Named, signal: AbortSignal, caller: Caller): Promise<void> {
    const { backend, model } = this.#first(request);
    await backend.load?.(signal);
    this.used(model, caller);
  }

  /**
   * Follows a client's wish as far as that harms nobody. Admins have theirs, except that a pinned model stays; others may
   * unload a model that neither serves anybody nor was used by another caller of late.
   *
   * @param model the id of the model that has replied; undefined: the first one that the request means.
   * @throws LMServError `model_not_found`.
   */
  async keep(wish: KeepAlive, request: Named, { caller, mayManage }: Guest, model?: string): Promise<void> {
    const { memory, isDefault } = this.#options;
    const id = model ?? this.#first(request).model;
    const resident = memory.models().find((candidate) => candidate.id === id);
    if (!resident || resident.pinned) return;
    if (wish === 'pin') {
      if (mayManage) memory.pin(id);
      return;
    }
    const unneeded = !isDefault(id) && !resident.busy && !this.#isUsedByOthers(id, caller);
    if (mayManage || unneeded) await memory.unload(id);
  }

  #first({ model, unknownModel, provider }: Named) {
    return this.#options.resolve(model, unknownModel, provider).members[0]!;
  }

  #isUsedByOthers(model: string, caller: Caller): boolean {
    const last = this.#uses.get(model);
    const at = last?.name === nameOf(caller) ? last.otherAt : last?.at;
    const { idleMs } = this.#options;
    return at !== undefined && (idleMs === 0 || this.#now() - at < idleMs);
  }
}

/** The last use of a model. Times are of the clock, milliseconds. */
interface Use {
  /** Of its caller. */
  readonly name: string;
  readonly at: number;
  /** When a caller other than that one last used it. */
  readonly otherAt: number | undefined;
}

/** Callers without a key are told apart by address. */
function nameOf({ address, name }: Caller): string {
  return address ?? name;
}
