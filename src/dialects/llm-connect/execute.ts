import { z } from 'zod';
import type { GenerateRequest, JsonObject, Usage } from '../../contract.js';
import { LMServError } from '../../errors.js';
import type { Dialect } from '../shared/dialect.js';
import { executeConfig, type CallValues, type ResolvedCall } from './execute-config.js';
import { executeError } from './execute-errors.js';
import { compact, text } from '../shared/fields.js';
import { optional, validate } from '../shared/validate.js';

const DEFAULTS = { model: 'gpt-4', temperature: 0.7, maxTokens: 2000, timeoutSeconds: 300 };

const schema = z.object({ prompt: text.min(1), config: optional(executeConfig) });

type Config = z.output<typeof executeConfig>;

export interface ExecuteOptions {
  /** Profiles by name; without it there are none. `given` wins over the profile's own values. */
  readonly profiles?: { resolve(name: string, given: CallValues): ResolvedCall | undefined };
  /** A name that is neither a profile nor a known model is refused instead of served by the default model. */
  readonly strictProfiles?: boolean;
  /** Whether a model or group goes by that name. */
  readonly isKnownModel?: (name: string) => boolean;
  /** The routing policy: a model's, group's or profile's name for a task type. */
  readonly route?: (taskType: string) => string | undefined;
}

/** `POST /execute` of llm-connect: a prompt and a config in, one JSON body out. */
export function execute(options: ExecuteOptions = {}): Dialect {
  return {
    parse(body) {
      const { prompt, config } = validate(schema, body);
      const call = resolveCall(config ?? {}, options);
      return {
        request: toRequest(prompt, call),
        reply: ({ choices, usage }, info) => {
          return {
            content: choices[0]!.text,
            model: info.trace.model,
            usage: usageOf(usage),
            finish_reason: choices[0]!.finishReason,
            metadata: call.max_depth === undefined ? {} : { max_depth: call.max_depth },
          };
        },
      };
    },
    errorBody: executeError,
  };
}

/**
 * Decides the model: a profile or known model that the request names; else what the policy has for its task type; else
 * the name as it is, which the default model serves where nobody goes by it.
 *
 * @throws LMServError `unknown_profile`.
 */
function resolveCall(config: Partial<Config>, options: ExecuteOptions): ResolvedCall {
  const { model_name: name, task_type: taskType, ...given } = config;
  const { profiles, isKnownModel = () => false } = options;
  const profiled = name === undefined ? undefined : profiles?.resolve(name, given);
  if (profiled) return profiled;
  if (name !== undefined && isKnownModel(name)) return { ...given, model: name };
  if (name !== undefined && options.strictProfiles === true) throw new LMServError('unknown_profile');
  const routed = taskType === undefined ? undefined : options.route?.(taskType);
  if (routed !== undefined) return profiles?.resolve(routed, given) ?? { ...given, model: routed };
  return { ...given, model: name ?? DEFAULTS.model };
}

function toRequest(prompt: string, call: ResolvedCall): GenerateRequest {
  const body = compact({
    ...compact(call.model_params ?? {}),
    messages: [{ role: 'user', content: prompt }],
    max_tokens: call.max_tokens ?? DEFAULTS.maxTokens,
    temperature: call.temperature ?? DEFAULTS.temperature,
  }) as JsonObject;
  return {
    kind: 'chat',
    n: 1,
    model: call.model,
    body,
    unknownModel: 'default',
    provider: call.provider === 'local' ? undefined : call.provider,
    deadlineMs: (call.timeout_seconds ?? DEFAULTS.timeoutSeconds) * 1000,
  };
}

function usageOf({ promptTokens, completionTokens }: Usage) {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
  };
}
