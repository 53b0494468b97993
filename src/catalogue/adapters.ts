/** Checks the adapters of a model, which llama.cpp would refuse at each start. */

import type { ModelSettings } from '../config/file/schema.js';
import { inspectModel } from '../install/models/inspect.js';
import { ModelError } from '../install/models/spec.js';

/**
 * @param modelPath the model's file.
 * @throws ModelError for what is not an adapter of the model's architecture.
 */
export async function checkAdapters(modelPath: string, lora: ModelSettings['lora']): Promise<void> {
  if (lora.length === 0) return;
  const architecture = await architectureOf(modelPath);
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

async function architectureOf(path: string) {
  return (await inspectModel(path)).header.fields.get('general.architecture');
}
