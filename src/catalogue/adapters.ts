/** Checks the adapters of a model, which llama.cpp would refuse at each start. */

import type { ModelSettings } from '../config/file/schema.js';
import type { GgufHeader } from '../install/models/gguf.js';
import { inspectModel } from '../install/models/inspect.js';
import { ModelError } from '../install/models/spec.js';

/** @throws ModelError for what is not an adapter of the model's architecture. */
export async function checkAdapters(model: GgufHeader, lora: ModelSettings['lora']): Promise<void> {
  const architecture = model.fields.get('general.architecture');
  for (const { path } of lora) {
    // llama.cpp takes what follows a colon for the scale.
    if (path.includes(':')) throw new ModelError(`${path}: the path of an adapter must not contain a colon`);
    const { fields } = (await inspectModel(path)).header;
    if (fields.get('general.type') !== 'adapter' || fields.get('adapter.type') !== 'lora')
      throw new ModelError(`${path} is not a LoRA adapter`);
    const own = fields.get('general.architecture');
    if (own !== architecture)
      throw new ModelError(
        `${path} is an adapter for models of the architecture ${String(own)}, not ${String(architecture)}`,
      );
  }
}
