import type { GenerateEvent, ToolCallDelta } from '../../contract.js';
import type { ReplyInfo } from '../shared/dialect.js';
import { OpenAiSse } from './sse-encoder.js';

/** Chunks of `/v1/chat/completions`: role, then deltas, then the finish reason, for each choice. */
export class ChatChunks extends OpenAiSse {
  /** Choices whose role has been sent. */
  readonly #opened = new Set<number>();

  constructor(info: ReplyInfo, includeUsage: boolean) {
    super(info, includeUsage, 'chatcmpl', 'chat.completion.chunk');
  }

  protected choiceEvent(event: Exclude<GenerateEvent, { type: 'usage' | 'prefill' }>): string {
    const role = this.#role(event.index);
    switch (event.type) {
      case 'text': {
        const logprobs = event.logprobs ? JSON.stringify({ content: event.logprobs, refusal: null }) : 'null';
        return role + this.#delta(event.index, `{"content":${JSON.stringify(event.text)}}`, logprobs);
      }
      case 'reasoning':
        return role + this.#delta(event.index, `{"reasoning_content":${JSON.stringify(event.text)}}`);
      case 'tool_call':
        return role + this.#delta(event.index, JSON.stringify({ tool_calls: [toolDelta(event.call)] }));
      case 'finish':
        return role + this.#delta(event.index, '{}', 'null', JSON.stringify(event.reason));
    }
  }

  #role(index: number): string {
    if (this.#opened.has(index)) return '';
    this.#opened.add(index);
    return this.#delta(index, '{"role":"assistant","content":""}');
  }

  #delta(index: number, delta: string, logprobs = 'null', reason = 'null'): string {
    return this.chunk(`{"index":${index},"delta":${delta},"logprobs":${logprobs},"finish_reason":${reason}}`);
  }
}

/** The first delta of a call names it; later ones are fragments of its arguments. */
function toolDelta(call: ToolCallDelta) {
  if (call.id === undefined && call.name === undefined) {
    return { index: call.index, function: { arguments: call.arguments ?? '' } };
  }
  return {
    index: call.index,
    id: call.id,
    type: 'function',
    function: { name: call.name, arguments: call.arguments ?? '' },
  };
}
