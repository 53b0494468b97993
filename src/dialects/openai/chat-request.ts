import { z } from 'zod';
import type { JsonObject } from '../../contract.js';
import { LMServError } from '../../errors.js';
import { compact } from '../../compact.js';
import { requestedTokens, choices, modelName, sampling, text } from '../shared/fields.js';
import { boundedSchema } from '../shared/schema-size.js';
import { optional, validate } from '../shared/validate.js';
import { messages, toolChoice, tools } from './messages.js';

const responseFormat = z.discriminatedUnion('type', [
  z.object({ type: z.literal('text') }),
  z.object({ type: z.literal('json_object'), schema: optional(boundedSchema) }),
  z.object({
    type: z.literal('json_schema'),
    json_schema: z.object({ name: optional(text), strict: optional(z.boolean()), schema: boundedSchema }),
  }),
]);

/** Fields that limit a model's reasoning; other models ignore them. */
export const reasoning = {
  reasoning_effort: optional(z.enum(['none', 'minimal', 'low', 'medium', 'high'])),
  chat_template_kwargs: optional(z.object({ enable_thinking: optional(z.boolean()) })),
};

const schema = z.object({
  ...sampling,
  ...reasoning,
  model: modelName,
  messages,
  n: choices,
  stream: optional(z.boolean()),
  stream_options: optional(z.object({ include_usage: optional(z.boolean()) })),
  tools: optional(tools),
  tool_choice: optional(toolChoice),
  parallel_tool_calls: optional(z.boolean()),
  response_format: optional(responseFormat),
  logprobs: optional(z.boolean()),
  top_logprobs: optional(z.int().min(0).max(20)),
  service_tier: optional(z.string()),
  functions: z.undefined('is no longer supported; use tools').optional(),
  function_call: z.undefined('is no longer supported; use tool_choice').optional(),
});

export type ChatRequestBody = z.output<typeof schema>;

/** Parses a `/v1/chat/completions` body. @throws LMServError `invalid_value`. */
export function parseChatBody(body: unknown): ChatRequestBody {
  const parsed = validate(schema, body);
  checkToolChoice(parsed);
  if (parsed.top_logprobs !== undefined && parsed.logprobs !== true) {
    throw new LMServError('invalid_value', 'top_logprobs: requires logprobs to be true', {
      param: 'top_logprobs',
    });
  }
  if (parsed.grammar !== undefined && (parsed.tools?.length || parsed.response_format)) {
    throw new LMServError('invalid_value', 'grammar: cannot be combined with tools or response_format', {
      param: 'grammar',
    });
  }
  return parsed;
}

/** OpenAI's `flex` tier is batch work: it waits behind all other requests. */
export function parsePriority(parsed: ChatRequestBody): { priority?: number } {
  return parsed.service_tier === 'flex' ? { priority: -1 } : {};
}

/** Builds the body for the backends, with llama.cpp's and OpenAI's names and no undefined fields. */
export function chatFields(parsed: ChatRequestBody): JsonObject {
  const { model, n, stream, stream_options, max_tokens, max_completion_tokens, n_predict, ...remaining } =
    parsed;
  const { service_tier, tools: toolList, tool_choice, response_format, ...others } = remaining;
  const maxTokens = requestedTokens({ max_tokens, max_completion_tokens, n_predict });
  return compact({
    ...others,
    max_tokens: maxTokens,
    // An empty list means no tools, and text is the default format.
    ...(toolList?.length ? { tools: toolList, tool_choice } : {}),
    response_format: response_format?.type === 'text' ? undefined : response_format,
  }) as JsonObject;
}

function checkToolChoice({ tools: toolList = [], tool_choice: choice }: ChatRequestBody): void {
  const names = toolList.map((tool) => tool.function.name);
  const fail = (message: string): never => {
    throw new LMServError('invalid_value', `tool_choice: ${message}`, { param: 'tool_choice' });
  };
  if (choice === 'required' && names.length === 0) fail('required without any tools');
  if (typeof choice === 'object' && !names.includes(choice.function.name))
    fail('names a function that is not in tools');
}
