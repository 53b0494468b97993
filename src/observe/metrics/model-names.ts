/** Series are never dropped: a model that was removed from the configuration keeps its series. */
const MAX_MODELS = 1000;

/** The values of the `model` label. Beyond the limit (many reloads, invented names) all models share `other`. */
export class ModelNames {
  readonly #known = new Set<string>();

  labelOf(model: string): string {
    if (this.#known.size < MAX_MODELS) this.#known.add(model);
    return this.#known.has(model) ? model : 'other';
  }
}
