import { z } from 'zod';
import type { GenerateRequest } from '../../contract.js';
import {
  chatFields,
  checkToolChoice,
  parsePriority,
  reasoning as chatReasoning,
} from '../openai/chat-request.js';
import { constraints } from '../shared/constraints.js';
import { modelName, sampling, text } from '../shared/fields.js';
import { workerSchema } from '../shared/schema-flaw.js';
import { filled, list, map, optional, validate } from '../shared/validate.js';
import { input, instructions, toMessages } from './input.js';
import { type ChatTools, toChatTools, toolChoice, tools } from './tools.js';
import { unsupportedType } from './unsupported.js';

const NOT_STORED = 'replies are not stored; send the whole conversation as input';

/** A field that would change the reply in a way that is not possible here. */
const refused = (message: string) => filled(z.undefined(message));

/** Fields of the other routes that limit a reply; here they have other names. */
const refusedConstraints = Object.fromEntries(
  Object.keys(constraints).map((name) => [name, refused('is not a field of this route; use text.format')]),
);

const limit = refused('is not a field of this route; use max_output_tokens');

const format = z.discriminatedUnion(
  'type',
  [
    z.object({ type: z.literal('text') }),
    z.object({ type: z.literal('json_object') }),
    z.object({
      type: z.literal('json_schema'),
      name: filled(text),
      description: optional(text),
      strict: optional(z.boolean()),
      schema: workerSchema,
    }),
  ],
  { error: unsupportedType('a format', 'use text, json_object or json_schema') },
);

export type Format = z.output<typeof format>;

const LOGPROBS = 'message.output_text.logprobs';

/** What the SDK's type lists; what no reply has here cannot be included. */
const INCLUDABLE = [
  ...['file_search_call.results', 'web_search_call.results', 'web_search_call.action.sources'],
  ...['message.input_image.image_url', 'computer_call_output.output.image_url'],
  ...['code_interpreter_call.outputs', 'reasoning.encrypted_content', LOGPROBS],
];

const SUMMARIES = z.enum(['auto', 'concise', 'detailed']);

export const responsesSchema = z.object({
  ...refusedConstraints,
  ...sampling,
  max_tokens: limit,
  max_completion_tokens: limit,
  n_predict: limit,
  max_output_tokens: sampling.max_tokens,
  model: modelName,
  input,
  instructions,
  tools: filled(tools),
  tool_choice: filled(toolChoice),
  parallel_tool_calls: optional(z.boolean()),
  text: filled(z.object({ format: filled(format), verbosity: filled(z.enum(['low', 'medium', 'high'])) })),
  reasoning: filled(
    z.object({
      effort: chatReasoning.reasoning_effort,
      summary: filled(SUMMARIES),
      // The older name.
      generate_summary: filled(SUMMARIES),
    }),
  ),
  chat_template_kwargs: chatReasoning.chat_template_kwargs,
  top_logprobs: optional(z.int().min(0).max(20)),
  include: filled(list(z.enum(INCLUDABLE), { max: 64 })),
  metadata: filled(
    map(/^.{0,64}$/su, 'must have keys of at most 64 characters', text.max(512)).refine(
      (pairs) => Object.keys(pairs).length <= 16,
      'must have at most 16 pairs',
    ),
  ),
  stream: optional(z.boolean()),
  stream_options: filled(z.object({ include_obfuscation: optional(z.boolean()) })),
  service_tier: optional(z.string()),
  truncation: filled(z.enum(['auto', 'disabled'])),
  store: optional(z.boolean()),
  background: optional(z.literal(false, 'is not supported; stream the reply or wait for it')),
  user: filled(text.max(256)),
  safety_identifier: filled(text.max(256)),
  prompt_cache_key: filled(text.max(256)),
  previous_response_id: refused(NOT_STORED),
  conversation: refused(NOT_STORED),
  prompt: refused('is not supported; send the text as instructions or input'),
  context_management: refused('is not supported; leave out what need not be sent'),
  moderation: refused('is not supported'),
  messages: refused('is not a field of this route; use input'),
  n: optional(z.literal(1, 'must be 1; send several requests')),
});

export type ResponsesBody = z.output<typeof responsesSchema>;

export interface ParsedRequest {
  readonly request: GenerateRequest;
  readonly body: ResponsesBody;
  readonly nameOf: ChatTools['nameOf'];
  /** Each token of the text has its log probability. */
  readonly logprobs: boolean;
  /** Reasoning is sent as a summary, which OpenAI's clients show; otherwise as itself. */
  readonly summary: string | undefined;
}

/** Parses a `/v1/responses` body. @throws LMServError `invalid_value`. */
export function parseRequest(given: unknown): ParsedRequest {
  const body = validate(responsesSchema, given);
  const { tools: toolList, choice, nameOf } = toChatTools(body.tools, body.tool_choice);
  const logprobs = (body.top_logprobs ?? 0) > 0 || body.include?.includes(LOGPROBS) === true;
  const chat = {
    ...samplingOf(body),
    max_tokens: body.max_output_tokens,
    messages: toMessages(body.input, body.instructions),
    tools: toolList,
    tool_choice: choice,
    parallel_tool_calls: body.parallel_tool_calls,
    reasoning_effort: body.reasoning?.effort,
    chat_template_kwargs: body.chat_template_kwargs,
    response_format: responseFormat(body.text?.format),
    logprobs: logprobs || undefined,
    top_logprobs: logprobs ? body.top_logprobs : undefined,
    service_tier: body.service_tier,
  };
  checkToolChoice(chat);
  return {
    request: { kind: 'chat', n: 1, model: body.model, body: chatFields(chat), ...parsePriority(chat) },
    body,
    nameOf,
    logprobs,
    summary: body.reasoning?.summary ?? body.reasoning?.generate_summary,
  };
}

function samplingOf(body: ResponsesBody) {
  const names = Object.keys(sampling) as (keyof typeof sampling)[];
  return Object.fromEntries(names.map((name) => [name, body[name]]));
}

/** The form of the reply as a chat has it. */
function responseFormat(wanted: Format | undefined) {
  if (wanted?.type === 'json_object') return { type: wanted.type, schema: undefined };
  if (wanted?.type !== 'json_schema') return wanted;
  const { name, strict, schema: own } = wanted;
  return { type: wanted.type, json_schema: { name, strict, schema: own } };
}
