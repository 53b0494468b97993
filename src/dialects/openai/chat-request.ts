import { z } from 'zod';
import type { JsonObject } from '../../contract.js';
import { LMServError } from '../../errors.js';
import { askedTokens, choices, compact, modelName, sampling, text } from '../shared/fields.js';
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

/** How much a reasoning model thinks; other models ignore it. */
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

/** Reads a `/v1/chat/completions` body. @throws LMServError `invalid_value`. */
export function parseChatBody(body: unknown): ChatRequestBody {
  const given = validate(schema, body);
  checkToolChoice(given);
  if (given.top_logprobs !== undefined && given.logprobs !== true) {
    throw new LMServError('invalid_value', 'top_logprobs: needs logprobs to be true', {
      param: 'top_logprobs',
    });
  }
  if (given.grammar !== undefined && (given.tools?.length || given.response_format)) {
    throw new LMServError('invalid_value', 'grammar: cannot be combined with tools or response_format', {
      param: 'grammar',
    });
  }
  return given;
}

/** OpenAI's tier for work that may take its time waits behind everything else. */
export function priorityOf(given: ChatRequestBody): { priority?: number } {
  return given.service_tier === 'flex' ? { priority: -1 } : {};
}

/** What goes down to the backends: llama.cpp's and OpenAI's names, nothing undefined. */
export function chatFields(given: ChatRequestBody): JsonObject {
  const { model, n, stream, stream_options, max_tokens, max_completion_tokens, n_predict, ...rest } = given;
  const { service_tier, tools: givenTools, tool_choice, response_format, ...plain } = rest;
  const asked = askedTokens({ max_tokens, max_completion_tokens, n_predict });
  return compact({
    ...plain,
    max_tokens: asked,
    // An empty list means no tools, and text is what comes without a format.
    ...(givenTools?.length ? { tools: givenTools, tool_choice } : {}),
    response_format: response_format?.type === 'text' ? undefined : response_format,
  }) as JsonObject;
}

function checkToolChoice({ tools: given = [], tool_choice: choice }: ChatRequestBody): void {
  const names = given.map((tool) => tool.function.name);
  const fail = (message: string): never => {
    throw new LMServError('invalid_value', `tool_choice: ${message}`, { param: 'tool_choice' });
  };
  if (choice === 'required' && names.length === 0) fail('required needs at least one tool');
  if (typeof choice === 'object' && !names.includes(choice.function.name))
    fail('names a function not among tools');
}
