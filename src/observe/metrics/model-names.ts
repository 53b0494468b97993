/** Series are never dropped: a model that has left the configuration keeps its own. */
const MAX_MODELS = 1000;

/** The values of the `model` label. Beyond the limit, after many reloads or with a backend that invents names, all share `other`. */
export class ModelNames {
  readonly #known = new Set<string>();

  labelOf(model: string): string {
    if (this.#known.size < MAX_MODELS) this.#known.add(model);
    return this.#known.has(model) ? model : 'other';
  }
}
