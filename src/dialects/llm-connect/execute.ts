import { z } from 'zod';
import type { GenerateRequest, JsonObject, Usage } from '../../contract.js';
import { LMServError } from '../../errors.js';
import type { Dialect } from '../shared/dialect.js';
import { constraintOf, withoutConstraints } from '../shared/constraints.js';
import { executeConfig, type CallValues, type ResolvedCall } from './execute-config.js';
import { executeError } from './execute-errors.js';
import { compact } from '../../compact.js';
import { text } from '../shared/fields.js';
import { optional, validate } from '../shared/validate.js';

const DEFAULTS = { model: 'gpt-4', temperature: 0.7, maxTokens: 2000, timeoutSeconds: 300 };

const schema = z.object({ prompt: text.min(1), config: optional(executeConfig) });

type Config = z.output<typeof executeConfig>;

export interface ExecuteOptions {
  /** Profiles by name; `overrides` take precedence over the profile's values. Default: no profiles. */
  readonly profiles?: { resolve(name: string, overrides: CallValues): ResolvedCall | undefined };
  /** Refuses a name that is neither a profile nor a known model, instead of falling back to the default model. */
  readonly strictProfiles?: boolean;
  /** Whether there is a model or group with this name. */
  readonly isKnownModel?: (name: string) => boolean;
  /** The routing policy: returns the name of a model, group or profile for a task type. */
  readonly route?: (taskType: string) => string | undefined;
}

/** `POST /execute` of llm-connect: takes a prompt and a config and replies with one JSON body. */
export function execute(options: ExecuteOptions = {}): Dialect {
  return {
    description: {
      summary: 'llm-connect’s prompt with a profile',
      body: schema,
      example: { prompt: 'Hello', config: { max_tokens: 16 } },
      replies: ['application/json'],
    },
    parse(body) {
      const { prompt, config } = validate(schema, body);
      const call = resolveCall(config ?? {}, options);
      return {
        request: toRequest(prompt, call),
        reply: ({ choices, usage }, info) => {
          return {
            content: choices[0]!.text,
            model: info.trace.model,
            usage: buildUsage(usage),
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
 * Chooses the model: the profile or known model that the request names; otherwise the routing policy's choice for its
 * task type; otherwise the name itself, which falls back to the default model if it is unknown.
 *
 * @throws LMServError `unknown_profile`.
 */
function resolveCall(config: Partial<Config>, options: ExecuteOptions): ResolvedCall {
  const { model_name: name, task_type: taskType, ...overrides } = config;
  const { profiles, isKnownModel = () => false } = options;
  const profiled = name === undefined ? undefined : profiles?.resolve(name, overrides);
  if (profiled) return profiled;
  if (name !== undefined && isKnownModel(name)) return { ...overrides, model: name };
  if (name !== undefined && options.strictProfiles === true) throw new LMServError('unknown_profile');
  const routed = taskType === undefined ? undefined : options.route?.(taskType);
  if (routed !== undefined) return profiles?.resolve(routed, overrides) ?? { ...overrides, model: routed };
  return { ...overrides, model: name ?? DEFAULTS.model };
}

function toRequest(prompt: string, call: ResolvedCall): GenerateRequest {
  const { model_params: params = {} } = call;
  const body = compact({
    ...compact(withoutConstraints(params)),
    ...constraintOf(params, 'chat')?.body,
    messages: [{ role: 'user', content: prompt }],
    max_tokens: call.max_tokens ?? DEFAULTS.maxTokens,
    temperature: call.temperature,
  }) as JsonObject;
  return {
    kind: 'chat',
    n: 1,
    model: call.model,
    body,
    defaults: { sampling: { temperature: DEFAULTS.temperature } },
    unknownModel: 'default',
    provider: call.provider === 'local' ? undefined : call.provider,
    deadlineMs: (call.timeout_seconds ?? DEFAULTS.timeoutSeconds) * 1000,
  };
}

function buildUsage({ promptTokens, completionTokens }: Usage) {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
  };
}
