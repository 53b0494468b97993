import type { FinishReason, JsonObject, ReplyEvent, ToolCallDelta, Usage } from '../../contract.js';
import { LMServError, openAiError } from '../../errors.js';
import { encodeSse, PING } from '../../wire/sse.js';
import { MAX_SIZE, sizeOf } from '../shared/collect.js';
import type { ReplyInfo, StreamEncoder } from '../shared/dialect.js';
import {
  type ItemKind,
  logprobsOf,
  needsText,
  OutputItem,
  ResponseObject,
  type State,
  statusAtEnd,
} from './output.js';
import type { ParsedRequest } from './request.js';

/** An item that has begun. */
interface Open {
  readonly item: OutputItem;
  readonly index: number;
  /** Of a call, as the backend numbers it. */
  readonly call: number | undefined;
  /** The text of its deltas before and after their number, which never changes. */
  readonly delta: readonly [string, string];
}

/** How the events of each kind of item are named, and where in the item they point. */
const NAMES: {
  readonly [K in ItemKind]: { readonly part?: string; readonly text: string; readonly at: object };
} = {
  text: { part: 'content_part', text: 'output_text', at: { content_index: 0 } },
  reasoning: { part: 'content_part', text: 'reasoning_text', at: { content_index: 0 } },
  summary: { part: 'reasoning_summary_part', text: 'reasoning_summary_text', at: { summary_index: 0 } },
  call: { text: 'function_call_arguments', at: {} },
};

const TOO_LARGE = 'The reply is larger than 16 Mi characters; ask for fewer tokens or log probabilities';

/** The events of a streamed reply, in OpenAI's order: each item is done before the next one begins. */
export class ResponseEvents implements StreamEncoder {
  readonly contentType = 'text/event-stream; charset=utf-8';
  readonly ping = PING;
  readonly #parsed: ParsedRequest;
  readonly #response: ResponseObject;
  readonly #output: OutputItem[] = [];
  /** One, or several calls whose parts are mixed. */
  #open: Open[] = [];
  #number = 0;
  /** The last events repeat the whole reply, so it is kept. */
  #size = 0;
  #calls = 0;
  #reasoningTokens = 0;
  #reason: FinishReason | undefined;
  #usage: Usage | undefined;

  constructor(parsed: ParsedRequest, info: ReplyInfo) {
    this.#parsed = parsed;
    this.#response = new ResponseObject(parsed, info);
  }

  event(event: ReplyEvent): string {
    switch (event.type) {
      case 'prefill':
        return '';
      case 'usage':
        this.#usage = event.usage;
        return '';
      default:
        this.#size += sizeOf(event);
        if (this.#size > MAX_SIZE) throw new LMServError('generation_failed', TOO_LARGE);
        return this.#choiceEvent(event);
    }
  }

  end(): string {
    const state = this.#state();
    const type = statusAtEnd(this.#reason ?? 'stop');
    return this.#begin() + this.#send(`response.${type}`, { response: this.#response.toJson(state) });
  }

  /** `error` is what clients throw; those that read on learn what has come so far. */
  error(error: LMServError): string {
    const described = openAiError(error);
    const begun = this.#begin();
    for (const { item } of this.#open) item.status = 'incomplete';
    const failed = this.#response.toJson({ ...this.#state(), error });
    return (
      begun +
      this.#send('error', { ...described, type: 'error', error: described }) +
      this.#send('response.failed', { response: failed })
    );
  }

  #choiceEvent(event: Exclude<ReplyEvent, { type: 'usage' | 'prefill' }>): string {
    switch (event.type) {
      case 'text': {
        if (!event.logprobs) return event.text === '' ? '' : this.#text('text', event.text);
        const logprobs = logprobsOf(event.logprobs, this.#parsed.body.top_logprobs ?? 0);
        return this.#text('text', event.text, logprobs);
      }
      case 'reasoning':
        this.#reasoningTokens += 1;
        return this.#text(this.#parsed.summary ? 'summary' : 'reasoning', event.text);
      case 'tool_call':
        return this.#call(event.call);
      case 'finish':
        return this.#finish(event.reason);
    }
  }

  #state(): State {
    return {
      output: this.#output,
      reason: this.#reason,
      usage: this.#usage,
      reasoningTokens: this.#reasoningTokens,
    };
  }

  /** The first events, if they have not been sent. */
  #begin(): string {
    if (this.#number > 0) return '';
    const response = this.#response.toJson({ output: [] });
    return this.#send('response.created', { response }) + this.#send('response.in_progress', { response });
  }

  #text(kind: ItemKind, text: string, logprobs: JsonObject[] = []): string {
    const last = this.#open.at(-1);
    if (last?.item.kind === kind) return this.#delta(last, text, logprobs);
    const before = this.#begin() + this.#close() + this.#add(new OutputItem(kind));
    return before + this.#delta(this.#open.at(-1)!, text, logprobs);
  }

  #call({ index, id = '', name = '', arguments: text = '' }: ToolCallDelta): string {
    const current = this.#open.find(({ call }) => call === index);
    if (current) return this.#delta(current, text);
    this.#calls += 1;
    const item = new OutputItem('call', { id, ...this.#parsed.nameOf(name) });
    const before = this.#begin() + this.#close() + this.#add(item, index);
    return before + this.#delta(this.#open.at(-1)!, text);
  }

  #finish(reason: FinishReason): string {
    this.#reason = reason;
    const hasText = this.#output.some(({ kind }) => kind === 'text');
    const empty = !hasText && needsText(reason, this.#calls) ? this.#text('text', '') : '';
    const last = this.#open.at(-1);
    if (last) last.item.status = statusAtEnd(reason);
    return this.#begin() + empty + this.#close(true);
  }

  #add(item: OutputItem, call?: number): string {
    const index = this.#output.length;
    const open = { item, index, call, delta: deltaText(item, index) };
    this.#output.push(item);
    this.#open.push(open);
    const added = this.#send('response.output_item.added', {
      output_index: open.index,
      item: item.toJson('in_progress'),
    });
    return added + this.#part(open, 'added');
  }

  #delta({ item, delta: [head, tail] }: Open, text: string, logprobs: JsonObject[] = []): string {
    if (text === '' && item.kind === 'call') return '';
    item.text += text;
    if (logprobs.length > 0) item.logprobs.push(...logprobs);
    const more = item.kind === 'text' ? `,"logprobs":${JSON.stringify(logprobs)}` : '';
    return `${head}${this.#number++}${tail}${JSON.stringify(text)}${more}}\n\n`;
  }

  /** Ends the open items, but not a call whose arguments are incomplete, unless `all` is set: more of it may come. */
  #close(all = false): string {
    const done = this.#open.filter((open) => all || open.item.kind !== 'call' || isJson(open.item.text));
    this.#open = this.#open.filter((open) => !done.includes(open));
    return done.map((open) => this.#done(open)).join('');
  }

  #done(open: Open): string {
    const { item, index } = open;
    const { text: name } = NAMES[item.kind];
    const written =
      item.kind === 'call' ? { name: item.call.name, arguments: item.text } : { text: item.text };
    const more = item.kind === 'text' ? { logprobs: item.logprobs } : {};
    return (
      this.#send(`response.${name}.done`, { ...place(open), ...written, ...more }) +
      this.#part(open, 'done') +
      this.#send('response.output_item.done', { output_index: index, item: item.toJson() })
    );
  }

  #part(open: Open, change: 'added' | 'done'): string {
    const { part: name } = NAMES[open.item.kind];
    if (name === undefined) return '';
    return this.#send(`response.${name}.${change}`, { ...place(open), part: open.item.part });
  }

  #send(type: string, fields: object): string {
    const number = this.#number++;
    return `event: ${type}\n${encodeSse(JSON.stringify({ type, sequence_number: number, ...fields }))}`;
  }
}

function deltaText(item: OutputItem, index: number): [string, string] {
  const type = `response.${NAMES[item.kind].text}.delta`;
  const at = JSON.stringify(place({ item, index })).slice(1, -1);
  return [`event: ${type}\ndata: {"type":"${type}","sequence_number":`, `,${at},"delta":`];
}

/** Where an event belongs. */
function place({ item, index }: Pick<Open, 'item' | 'index'>): object {
  return { item_id: item.id, output_index: index, ...NAMES[item.kind].at };
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
