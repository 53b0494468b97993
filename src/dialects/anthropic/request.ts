import { z } from 'zod';
import type { GenerateRequest, JsonObject } from '../../contract.js';
import { compact } from '../../compact.js';
import { conflict } from '../shared/constraints.js';
import { maxTokens, modelName, sampling } from '../shared/fields.js';
import { workerSchema } from '../shared/schema-flaw.js';
import { filled, list, optional, validate } from '../shared/validate.js';
import { system, toMessages, turns } from './history.js';
import { effort, thinking, thinkingFields } from './thinking.js';
import { toolChoice, toolFields, tools } from './tools.js';

const unsupported = filled(z.undefined('is not supported'));

const format = filled(z.object({ type: z.literal('json_schema'), schema: workerSchema }));

/** The model sees the whole conversation, so an edit that would show it another one is refused. */
const edit = z.discriminatedUnion(
  'type',
  [
    z.object({ type: z.literal('clear_thinking_20251015') }),
    z.object({ type: z.literal('clear_tool_uses_20250919') }),
  ],
  { error: 'is not supported' },
);

export const messageSchema = z.object({
  model: modelName,
  messages: turns,
  system,
  max_tokens: maxTokens,
  stop_sequences: sampling.stop,
  stream: optional(z.boolean()),
  temperature: sampling.temperature,
  top_p: sampling.top_p,
  top_k: sampling.top_k,
  thinking: filled(thinking),
  tools: filled(tools),
  tool_choice: filled(toolChoice),
  output_config: filled(z.object({ effort, format })),
  output_format: format,
  context_management: filled(z.object({ edits: filled(list(edit)) })),
  compaction: unsupported,
  container: unsupported,
  fallbacks: unsupported,
  inference_geo: unsupported,
  mcp_servers: unsupported,
  thread: unsupported,
});

/** A request of Anthropic's, and how its reply is written. */
export interface MessageRequest {
  readonly request: GenerateRequest;
  readonly stream: boolean;
  /** The client does not want to see the text of the model's thinking. */
  readonly omitsThinking: boolean;
}

/** Parses a body of `/v1/messages` or `/v1/messages/count_tokens`. @throws LMServError `invalid_value`. */
export function parseMessageBody(body: unknown): MessageRequest {
  const parsed = validate(messageSchema, body);
  const { messages, changes } = toMessages(parsed.system, parsed.messages);
  const calling = toolFields(parsed.tools, parsed.tool_choice, changes);
  const fields = compact({
    messages,
    max_tokens: parsed.max_tokens,
    temperature: parsed.temperature,
    top_p: parsed.top_p,
    top_k: parsed.top_k,
    stop: parsed.stop_sequences,
    reasoning_effort: parsed.output_config?.effort,
    ...thinkingFields(parsed.thinking),
    ...calling,
    ...formatFields(parsed, calling.tool_choice),
  }) as JsonObject;
  return {
    request: { kind: 'chat', n: 1, model: parsed.model, body: fields },
    stream: parsed.stream === true,
    omitsThinking:
      parsed.thinking !== undefined && 'display' in parsed.thinking && parsed.thinking.display === 'omitted',
  };
}

/** A turn that must be a call has no other form; where the model may choose, the backend decides about the two. */
function formatFields(
  { output_config: config, output_format: older }: z.output<typeof messageSchema>,
  choice: unknown = 'auto',
): JsonObject {
  if (config?.format && older) throw conflict('output_format', 'output_config.format');
  const wanted = config?.format ?? older;
  if (!wanted || choice === 'required' || typeof choice === 'object') return {};
  return { response_format: { type: 'json_schema', json_schema: { schema: wanted.schema } } };
}
