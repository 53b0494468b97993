import type { GenerateEvent } from '../../contract.js';
import { openAiError, type LMServError } from '../../errors.js';
import { DONE, encodeSse, PING } from '../../wire/sse.js';
import type { ReplyInfo, StreamEncoder } from '../shared/dialect.js';
import { usageObject } from './usage.js';

/** The frame that both of OpenAI's streams share; a subclass writes the choices. */
export abstract class OpenAiSse implements StreamEncoder {
  readonly contentType = 'text/event-stream';
  readonly ping = PING;
  #head: string | undefined;

  constructor(
    private readonly info: ReplyInfo,
    private readonly includeUsage: boolean,
    private readonly idPrefix: string,
    private readonly object: string,
  ) {}

  event(event: GenerateEvent): string {
    if (event.type === 'usage') return this.includeUsage ? this.#usage(event.usage) : '';
    return event.type === 'prefill' ? '' : this.choiceEvent(event);
  }

  end(): string {
    return encodeSse(DONE);
  }

  error(error: LMServError): string {
    return encodeSse(JSON.stringify({ error: openAiError(error) }));
  }

  protected abstract choiceEvent(event: Exclude<GenerateEvent, { type: 'usage' | 'prefill' }>): string;

  /** One chunk; `choice` is the JSON of its only choice. The text before it is the same all along: made once. */
  protected chunk(choice: string): string {
    return `data: ${this.#prefix()}${choice}]${this.includeUsage ? ',"usage":null}' : '}'}\n\n`;
  }

  #usage(usage: Parameters<typeof usageObject>[0]): string {
    return `data: ${this.#prefix()}],"usage":${JSON.stringify(usageObject(usage))}}\n\n`;
  }

  #prefix(): string {
    const { requestId, created, trace } = this.info;
    const fields = { id: `${this.idPrefix}-${requestId}`, object: this.object, created, model: trace.model };
    return (this.#head ??= `${JSON.stringify(fields).slice(0, -1)},"choices":[`);
  }
}
