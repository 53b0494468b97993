import type { ReplyEvent, TokenLogprob, ToolCallDelta } from '../../contract.js';
import { openAiError, type LMServError } from '../../errors.js';
import { DONE, encodeSse, PING } from '../../wire/sse.js';
import type { ReplyInfo, StreamEncoder } from '../shared/dialect.js';
import { usageObject } from './usage.js';

type ChoiceEvent = Exclude<ReplyEvent, { type: 'usage' | 'prefill' }>;

/** The frame that OpenAI's two streams share; a subclass writes the choices. */
export abstract class OpenAiSse implements StreamEncoder {
  readonly contentType = 'text/event-stream; charset=utf-8';
  readonly ping = PING;
  readonly #info: ReplyInfo;
  readonly #includeUsage: boolean;
  readonly #idPrefix: string;
  readonly #object: string;
  #head: string | undefined;

  constructor(info: ReplyInfo, includeUsage: boolean, idPrefix: string, object: string) {
    this.#info = info;
    this.#includeUsage = includeUsage;
    this.#idPrefix = idPrefix;
    this.#object = object;
  }

  event(event: ReplyEvent): string {
    if (event.type === 'usage') return this.#includeUsage ? this.#usage(event.usage) : '';
    return event.type === 'prefill' ? '' : this.choiceEvent(event);
  }

  end(): string {
    return encodeSse(DONE);
  }

  error(error: LMServError): string {
    return encodeSse(JSON.stringify({ error: openAiError(error) }));
  }

  protected abstract choiceEvent(event: ChoiceEvent): string;

  /** One chunk; `choice` is the JSON of its only choice. The text before it never changes, so it is made once. */
  protected chunk(choice: string): string {
    return `data: ${this.#prefix()}${choice}]${this.#includeUsage ? ',"usage":null}' : '}'}\n\n`;
  }

  #usage(usage: Parameters<typeof usageObject>[0]): string {
    return `data: ${this.#prefix()}],"usage":${JSON.stringify(usageObject(usage))}}\n\n`;
  }

  #prefix(): string {
    return (this.#head ??= this.#makeHead());
  }

  #makeHead(): string {
    const { requestId, created, trace } = this.#info;
    const fields = {
      id: `${this.#idPrefix}-${requestId}`,
      object: this.#object,
      created,
      model: trace.model,
    };
    return `${JSON.stringify(fields).slice(0, -1)},"choices":[`;
  }
}

/** Chunks of `/v1/chat/completions`: role, then deltas, then the finish reason, for each choice. */
export class ChatChunks extends OpenAiSse {
  /** Choices whose role has been sent. */
  readonly #opened = new Set<number>();

  readonly #tops: number;

  /** @param tops number of alternatives to each token. */
  constructor(info: ReplyInfo, includeUsage: boolean, tops = 0) {
    super(info, includeUsage, 'chatcmpl', 'chat.completion.chunk');
    this.#tops = tops;
  }

  protected choiceEvent(event: ChoiceEvent): string {
    const role = this.#role(event.index);
    switch (event.type) {
      case 'text': {
        const logprobs = event.logprobs ? JSON.stringify(logprobsObject(event.logprobs, this.#tops)) : 'null';
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

/** OpenAI's object of log probabilities, with as many alternatives as the client asked for. */
export function logprobsObject(tokens: readonly TokenLogprob[], tops: number) {
  const content = tokens.map((token) =>
    Array.isArray(token.top_logprobs) ? { ...token, top_logprobs: token.top_logprobs.slice(0, tops) } : token,
  );
  return { content, refusal: null };
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
