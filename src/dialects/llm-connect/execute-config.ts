import { z } from 'zod';
import { maxTokens, sampling, temperature, text } from '../shared/fields.js';
import { reasoning } from '../openai/chat-request.js';
import { optional } from '../shared/validate.js';

/** What a call of llm-connect may set, in a request's `config` as well as in a profile. */

const { max_tokens, max_completion_tokens, n_predict, temperature: _own, ...others } = sampling;

/** Sampling and reasoning fields, allow-listed; length and temperature have their own places in the config. */
export const modelParams = { ...others, ...reasoning };

export const callValues = {
  temperature,
  max_tokens: maxTokens,
  max_depth: optional(z.int().min(0).max(1_000_000)),
  /** For the whole call. */
  timeout_seconds: optional(z.number().gt(0).max(86_400)),
  model_params: optional(z.object(modelParams)),
};

export const executeConfig = z.object({
  ...callValues,
  model_name: optional(text.min(1).max(256)),
  task_type: optional(text.min(1).max(256)),
});

type Config = z.output<typeof executeConfig>;

/** Times are seconds here, as on the wire. */
export interface CallValues extends Partial<Omit<Config, 'model_name' | 'task_type' | 'model_params'>> {
  readonly model_params?: Partial<NonNullable<Config['model_params']>> | undefined;
}

/** A call whose model is decided: a profile with what the request gave put over it. */
export interface ResolvedCall extends CallValues {
  readonly provider?: string | undefined;
  readonly model: string;
}
