import type { ModelInfo } from '../../contract.js';

/** Anthropic's list of models, on one page. */
export function anthropicModels(list: readonly ModelInfo[]) {
  return {
    data: list.map(anthropicModel),
    has_more: false,
    first_id: list[0]?.id ?? null,
    last_id: list.at(-1)?.id ?? null,
  };
}

/** A model in Anthropic's form; what is not known is null. */
export function anthropicModel({ id, created, details }: ModelInfo) {
  return {
    type: 'model',
    id,
    display_name: id,
    created_at: new Date(created * 1_000).toISOString(),
    max_input_tokens: details?.contextLength ?? null,
    max_tokens: details?.maxOutputTokens ?? null,
  };
}
