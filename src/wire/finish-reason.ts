import type { FinishReason } from '../contract.js';

/**
 * What servers call the regular ends of a reply, in lower case. What is not here is an error, such as vLLM's `abort` or
 * DeepSeek's `insufficient_system_resource`: the text may be cut anywhere.
 */
const REASONS: Readonly<Record<FinishReason, string>> = {
  // Together: eos; TGI: eos_token; Anthropic, Bedrock, xAI: end_turn, stop_sequence; Cohere: COMPLETE; AI21: endoftext.
  stop: 'stop eos eos_token end_turn stop_sequence complete endoftext',
  // Gemini, Anthropic, Cohere: max_tokens; Mistral: model_length; Anthropic, GLM: model_context_window_exceeded;
  // watsonx: token_limit.
  length: 'length max_tokens max_output_tokens model_length model_context_window_exceeded token_limit',
  // OpenAI's older name; Anthropic, Bedrock: tool_use; Cohere: TOOL_CALL.
  tool_calls: 'tool_calls tool_call tool_use function_call',
  // Gemini: safety to spii; Bedrock: content_filtered, guardrail_intervened; Anthropic: refusal; GLM: sensitive;
  // Cohere: ERROR_TOXIC.
  content_filter:
    'content_filter content_filtered guardrail_intervened safety recitation blocklist prohibited_content spii refusal ' +
    'sensitive error_toxic',
};

const BY_NAME: ReadonlyMap<string, FinishReason> = new Map(
  (Object.keys(REASONS) as FinishReason[]).flatMap((reason) =>
    REASONS[reason].split(' ').map((name) => [name, reason]),
  ),
);

/** Said before the end: DashScope sends the text `null`, watsonx `not_finished`. */
const UNFINISHED: ReadonlySet<string> = new Set(['', 'null', 'none', 'not_finished']);

/**
 * Reads a finish reason in any of its usual spellings: `STOP`, `tool-calls`, `endTurn`, `FinishReason.STOP`. Undefined
 * while the reply is not finished, `unknown` for a reason that is not in the table. Pure.
 */
export function readFinishReason(raw: unknown): FinishReason | 'unknown' | undefined {
  if (raw === undefined || raw === null) return undefined;
  const name = typeof raw === 'string' ? normalized(raw) : undefined;
  if (name !== undefined && UNFINISHED.has(name)) return undefined;
  return BY_NAME.get(name ?? '') ?? 'unknown';
}

function normalized(raw: string): string {
  const snake = raw
    .trim()
    .replace(/([a-z])(?=[A-Z])/g, '$1_')
    .replaceAll(/[-\s]/g, '_')
    .toLowerCase();
  return snake.replace(/^finish_?reason[._]/, '');
}

/** The more informative the later. */
export const FINISH_REASONS: readonly FinishReason[] = ['stop', 'tool_calls', 'length', 'content_filter'];

/** The more informative of two reasons of one reply: some proxies add a `stop` of their own, some servers send it with each chunk. */
export function strongerReason(a: FinishReason | undefined, b: FinishReason): FinishReason {
  return a !== undefined && FINISH_REASONS.indexOf(a) > FINISH_REASONS.indexOf(b) ? a : b;
}
