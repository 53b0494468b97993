import type { FinishReason, GenerateEvent, TokenLogprob, Usage } from '../contract.js';

export interface ToolCall {
  readonly id: string;
  readonly type: 'function';
  readonly function: { readonly name: string; readonly arguments: string };
}

/** One choice of a finished reply. */
export interface Choice {
  text: string;
  reasoning: string;
  logprobs: TokenLogprob[];
  toolCalls: { id: string; name: string; arguments: string }[];
  finishReason: FinishReason;
}

export interface Collected {
  readonly choices: readonly Choice[];
  readonly usage: Usage;
}

/** Reads a generation to its end. @throws what the generation throws. */
export async function collect(events: AsyncIterable<GenerateEvent>, n = 1): Promise<Collected> {
  const choices = Array.from({ length: n }, newChoice);
  let usage: Usage = { promptTokens: 0, completionTokens: 0, cachedTokens: 0 };
  for await (const event of events) {
    if (event.type === 'usage') usage = event.usage;
    else if (event.type !== 'prefill') add(choices[event.index]!, event);
  }
  return { choices, usage };
}

/** OpenAI's shape of a message's finished tool calls. */
export function toolCalls(choice: Choice): ToolCall[] {
  return choice.toolCalls.map((call) => ({
    id: call.id,
    type: 'function',
    function: { name: call.name, arguments: call.arguments },
  }));
}

function newChoice(): Choice {
  return { text: '', reasoning: '', logprobs: [], toolCalls: [], finishReason: 'stop' };
}

function add(choice: Choice, event: Exclude<GenerateEvent, { type: 'usage' | 'prefill' }>): void {
  switch (event.type) {
    case 'text':
      choice.text += event.text;
      if (event.logprobs) choice.logprobs.push(...event.logprobs);
      break;
    case 'reasoning':
      choice.reasoning += event.text;
      break;
    case 'finish':
      choice.finishReason = event.reason;
      break;
    case 'tool_call': {
      const call = (choice.toolCalls[event.call.index] ??= { id: '', name: '', arguments: '' });
      call.id ||= event.call.id ?? '';
      call.name ||= event.call.name ?? '';
      call.arguments += event.call.arguments ?? '';
    }
  }
}
