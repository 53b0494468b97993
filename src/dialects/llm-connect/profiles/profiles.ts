import type { CallValues, ResolvedCall } from '../execute-config.js';
import { compact } from '../../../compact.js';

/** Named sets of provider, model and call values. Immutable. */
export class Profiles {
  /** What `--disable-profiles` leaves. */
  static readonly none = new Profiles(new Map());

  readonly #byName: ReadonlyMap<string, ResolvedCall>;

  constructor(byName: ReadonlyMap<string, ResolvedCall>) {
    this.#byName = new Map(byName);
  }

  get names(): string[] {
    return [...this.#byName.keys()];
  }

  /** The profile's values with those given put over them, `model_params` one by one; undefined where there is none. */
  resolve(name: string, given: CallValues): ResolvedCall | undefined {
    const profile = this.#byName.get(name);
    if (!profile) return undefined;
    // What was not given must not blot out the profile's own.
    const params = { ...profile.model_params, ...compact(given.model_params ?? {}) };
    return { ...profile, ...compact(given), model_params: params };
  }
}
