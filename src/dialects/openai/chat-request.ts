import { z } from 'zod';
import type { JsonObject } from '../../contract.js';
import { LMServError } from '../../errors.js';
import { compact } from '../../compact.js';
import { conflict, constraintOf, constraints, withoutConstraints } from '../shared/constraints.js';
import { requestedTokens, choices, modelName, sampling, text } from '../shared/fields.js';
import { filled, optional, validate } from '../shared/validate.js';
import { messages } from './messages.js';
import { toolChoice, tools } from './tools.js';

/** Fields that limit a model's reasoning; other models ignore them. */
export const reasoning = {
  // Every family of models has words of its own.
  reasoning_effort: filled(text.regex(/^[a-z]{2,32}$/i, 'must be a word such as low or high')),
  chat_template_kwargs: filled(z.object({ enable_thinking: optional(z.boolean()) })),
};

/** Names of before tools; clients that dump all their fields send them unset. */
const functions = filled(z.undefined('is no longer supported; use tools'));
const functionCall = filled(z.literal(['none', 'auto'], 'is no longer supported; use tool_choice'));

export const chatSchema = z.object({
  ...sampling,
  ...constraints,
  ...reasoning,
  model: modelName,
  messages,
  n: choices,
  stream: optional(z.boolean()),
  stream_options: filled(z.object({ include_usage: optional(z.boolean()) })),
  tools: filled(tools),
  tool_choice: filled(toolChoice),
  parallel_tool_calls: optional(z.boolean()),
  logprobs: optional(z.boolean()),
  top_logprobs: optional(z.int().min(0).max(20)),
  service_tier: optional(z.string()),
  functions,
  function_call: functionCall,
});

export type ChatRequestBody = z.output<typeof chatSchema>;

/** Parses a `/v1/chat/completions` body. @throws LMServError `invalid_value`. */
export function parseChatBody(body: unknown): ChatRequestBody {
  const parsed = validate(chatSchema, body);
  checkToolChoice(parsed);
  if (parsed.top_logprobs && parsed.logprobs !== true) {
    throw new LMServError('invalid_value', 'top_logprobs: requires logprobs to be true', {
      param: 'top_logprobs',
    });
  }
  return parsed;
}

/** OpenAI's `flex` tier is batch work: it waits behind all other requests. */
export function parsePriority(parsed: Partial<ChatRequestBody>): { priority?: number } {
  return parsed.service_tier === 'flex' ? { priority: -1 } : {};
}

/**
 * Builds the body for the backends, with llama.cpp's and OpenAI's names and no undefined fields.
 *
 * @throws LMServError `invalid_value` for constraints that cannot be combined.
 */
export function chatFields(parsed: Partial<ChatRequestBody>): JsonObject {
  const { model, n, stream, stream_options, max_tokens, max_completion_tokens, n_predict, ...remaining } =
    withoutConstraints(parsed);
  const { service_tier, functions: _, function_call, tools: __, tool_choice, ...others } = remaining;
  return compact({
    ...others,
    max_tokens: requestedTokens({ max_tokens, max_completion_tokens, n_predict }),
    ...toolFields(parsed),
    ...constraintFields(parsed),
    // With 0 a worker would send no log probability at all; the alternatives are left out later.
    top_logprobs: parsed.logprobs === true ? Math.max(1, parsed.top_logprobs ?? 0) : undefined,
  }) as JsonObject;
}

/** A tool that must be called is named as OpenAI names it; of several that may be, the others are left out. */
function toolFields({ tools: all, tool_choice: choice }: Partial<ChatRequestBody>) {
  if (!all) return {};
  if (!choice?.names) return { tools: all, tool_choice: choice?.mode };
  const { mode, names } = choice;
  if (mode === 'required' && names.length === 1)
    return { tools: all, tool_choice: { type: 'function', function: { name: names[0]! } } };
  return { tools: all.filter((tool) => names.includes(tool.function.name)), tool_choice: mode };
}

/** A turn that must be a call has no other form; where the model may choose, the backend decides about the two. */
function constraintFields(parsed: Partial<ChatRequestBody>): JsonObject {
  const constraint = constraintOf(parsed, 'chat');
  const { tools: toolList, tool_choice: { mode } = { mode: 'auto' } } = parsed;
  if (!constraint) return {};
  if (!toolList || mode === 'none') return constraint.body;
  if ('grammar' in constraint.body) throw conflict(constraint.field, 'tools');
  return mode === 'auto' ? constraint.body : {};
}

/** @throws LMServError `invalid_value` for a choice that the tools cannot satisfy. */
export function checkToolChoice({
  tools: toolList = [],
  tool_choice: choice,
}: Partial<ChatRequestBody>): void {
  const known = toolList.map((tool) => tool.function.name);
  const fail = (message: string): never => {
    throw new LMServError('invalid_value', `tool_choice: ${message}`, { param: 'tool_choice' });
  };
  const unknown = choice?.names?.find((name) => !known.includes(name));
  if (unknown !== undefined) fail(`names a function that is not in tools: ${unknown}`);
  if (choice?.mode === 'required' && known.length === 0) fail('required without any tools');
}
