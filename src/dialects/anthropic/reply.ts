import type { FinishReason, Json, Usage } from '../../contract.js';
import { jsonOrText } from '../../wire/json-shape.js';
import type { Choice } from '../shared/collect.js';
import type { ReplyInfo } from '../shared/dialect.js';
import { signatureOf } from './thinking.js';

/** How a reply ended. */
export interface Finish {
  readonly reason: FinishReason;
  /** The stop sequence that ended it, if the backend tells. */
  readonly stop?: string | undefined;
}

const REASONS = {
  stop: 'end_turn',
  length: 'max_tokens',
  tool_calls: 'tool_use',
  content_filter: 'refusal',
} as const;

/** Why a reply ended, in Anthropic's words. */
export function stopFields({ reason, stop }: Finish) {
  const named = reason === 'stop' && stop !== undefined;
  return { stop_reason: named ? 'stop_sequence' : REASONS[reason], stop_sequence: named ? stop : null };
}

/** Anthropic does not count the tokens from the cache as input. */
export function usageObject({ promptTokens, completionTokens, cachedTokens }: Usage) {
  return {
    input_tokens: promptTokens - cachedTokens,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: cachedTokens,
    output_tokens: completionTokens,
  };
}

/** The message of which a stream begins without content and an end. */
export function messageObject(info: ReplyInfo, content: readonly object[], usage: Usage, finish?: Finish) {
  return {
    id: `msg_${info.requestId}`,
    type: 'message',
    role: 'assistant',
    model: info.trace.model,
    content,
    ...(finish ? stopFields(finish) : { stop_reason: null, stop_sequence: null }),
    usage: usageObject(usage),
  };
}

/** The blocks of a whole reply. */
export function contentBlocks({ reasoning, text, toolCalls }: Choice, omitsThinking: boolean): object[] {
  return [
    ...(reasoning ? [thinkingBlock(reasoning, omitsThinking)] : []),
    ...(text ? [{ type: 'text', text, citations: null }] : []),
    ...toolCalls.map((call) => ({ ...toolUse(call.id, call.name), input: inputOf(call.arguments) })),
  ];
}

export function toolUse(id: string | undefined, name: string | undefined) {
  return { type: 'tool_use', id, name, input: {} as Json, caller: { type: 'direct' } };
}

function thinkingBlock(reasoning: string, omitted: boolean): object {
  const signature = signatureOf(reasoning, omitted);
  return { type: 'thinking', thinking: omitted ? '' : reasoning, signature };
}

/** Arguments that are not JSON, such as those of a call cut at max_tokens, stay the text they are. */
function inputOf(json: string): Json {
  return json.trim() === '' ? {} : (jsonOrText(json) as Json);
}
