import { z } from 'zod';
import { constraints } from '../shared/constraints.js';
import { maxTokens, modelName, sampling, temperature, text } from '../shared/fields.js';
import { reasoning } from '../openai/chat-request.js';
import { filled, optional } from '../shared/validate.js';

/** The fields that llm-connect allows in a request's `config` and in a profile. */

const { max_tokens, max_completion_tokens, n_predict, temperature: _own, ...others } = sampling;

/** Allowed sampling, reasoning and form fields; the config has separate fields for length and temperature. */
export const modelParams = { ...others, ...reasoning, ...constraints };

export const callValues = {
  temperature,
  max_tokens: maxTokens,
  max_depth: optional(z.int().min(0).max(1_000_000)),
  /** Deadline of the whole call, seconds. */
  timeout_seconds: optional(z.number().gt(0).max(86_400)),
  model_params: optional(z.object(modelParams)),
};

export const executeConfig = z.object({
  ...callValues,
  model_name: modelName,
  task_type: filled(text.max(256)),
});

type Config = z.output<typeof executeConfig>;

/** Times are in seconds, as on the wire. */
export interface CallValues extends Partial<Omit<Config, 'model_name' | 'task_type' | 'model_params'>> {
  readonly model_params?: Partial<NonNullable<Config['model_params']>> | undefined;
}

/** A call with its model: a profile, overridden by the values of the request. */
export interface ResolvedCall extends CallValues {
  readonly provider?: string | undefined;
  readonly model: string;
}
