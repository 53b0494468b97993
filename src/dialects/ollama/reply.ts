import type { FinishReason, ReplyEvent, TokenLogprob, Usage } from '../../contract.js';
import { compact } from '../../compact.js';
import type { LMServError } from '../../errors.js';
import { isObject, jsonOrText } from '../../wire/json-shape.js';
import { logprobsObject } from '../openai/chunks.js';
import type { Choice, Collected } from '../shared/collect.js';
import type { ReplyInfo, StreamEncoder } from '../shared/dialect.js';
import { ollamaError } from './errors.js';

const LINES = 'application/x-ndjson';

/** Content types of a reply: streamed unless the client says otherwise. */
export const STREAMED = [LINES, 'application/json'];

/** What one line, or a whole reply, says. */
interface Said {
  readonly text: string;
  readonly thinking?: string | undefined;
  readonly calls?: readonly object[] | undefined;
}

/** The fields of a route for what is said. */
export type Shape = (said: Said) => object;

export const asMessage: Shape = ({ text, thinking, calls }) => ({
  message: compact({ role: 'assistant', content: text, thinking, tool_calls: calls }),
});

export const asResponse: Shape = ({ text, thinking }) => compact({ response: text, thinking });

/** How the replies to one request are written. */
export interface ReplyForm {
  readonly shape: Shape;
  /** The model as the client named it. */
  readonly model: string | undefined;
  /** When the request came, by `performance.now()`. */
  readonly began: number;
  /** Alternatives to each token; undefined for no log probabilities. */
  readonly tops: number | undefined;
}

/** The reply to a request that only loads or unloads a model. */
export function settledObject({ shape, model }: ReplyForm, reason: 'load' | 'unload') {
  return { ...headOf(model), ...shape({ text: '' }), done: true, done_reason: reason };
}

/** A whole reply. */
export function replyObject(form: ReplyForm, { choices, usage }: Collected, info: ReplyInfo) {
  const choice = choices[0]!;
  const { calls, rest } = readCalls(choice.toolCalls);
  const said = {
    text: choice.text + rest,
    thinking: choice.reasoning || undefined,
    calls: calls.length > 0 ? calls : undefined,
  };
  return {
    ...headOf(form.model ?? info.trace.model),
    ...form.shape(said),
    ...logprobsOf(choice.logprobs, form.tops),
    ...lastFields(choice.finishReason, usage, form.began, info),
  };
}

/** A reply as lines of JSON. Calls come whole, and together. */
export class ReplyLines implements StreamEncoder {
  readonly contentType = LINES;
  /** Some clients drop lines that they do not know, and take any end for a good one. */
  readonly cutsAfterError = true;
  readonly #form: ReplyForm;
  readonly #info: ReplyInfo;
  readonly #calls: Choice['toolCalls'] = [];
  #reason: FinishReason = 'stop';
  #usage: Usage = { promptTokens: 0, completionTokens: 0, cachedTokens: 0 };

  constructor(form: ReplyForm, info: ReplyInfo) {
    this.#form = form;
    this.#info = info;
  }

  /** Says nothing, as Ollama's own lines sometimes do. */
  get ping(): string {
    return this.#line({ text: '' });
  }

  event(event: ReplyEvent): string {
    switch (event.type) {
      case 'prefill':
        return '';
      case 'text':
        return event.text === '' && !event.logprobs ? '' : this.#line({ text: event.text }, event.logprobs);
      case 'reasoning':
        return event.text === '' ? '' : this.#line({ text: '', thinking: event.text });
      case 'tool_call': {
        const { index, id = '', name = '', arguments: json = '' } = event.call;
        const call = (this.#calls[index] ??= { id: '', name: '', arguments: '' });
        call.id ||= id;
        call.name ||= name;
        call.arguments += json;
        return '';
      }
      case 'finish':
        this.#reason = event.reason;
        return this.#calledLine();
      case 'usage':
        this.#usage = event.usage;
        return '';
    }
  }

  end(): string {
    const { shape, began } = this.#form;
    const fields = { ...shape({ text: '' }), ...lastFields(this.#reason, this.#usage, began, this.#info) };
    return this.#write(fields);
  }

  error(error: LMServError): string {
    return `${JSON.stringify(ollamaError(error))}\n`;
  }

  #calledLine(): string {
    const { calls, rest } = readCalls(this.#calls);
    const words = rest === '' ? '' : this.#line({ text: rest });
    return calls.length === 0 ? words : words + this.#line({ text: '', calls });
  }

  #line(said: Said, logprobs: readonly TokenLogprob[] = []): string {
    return this.#write({
      ...this.#form.shape(said),
      ...logprobsOf(logprobs, this.#form.tops),
      done: false,
    });
  }

  #write(fields: object): string {
    const head = headOf(this.#form.model ?? this.#info.trace.model);
    return `${JSON.stringify({ ...head, ...fields })}\n`;
  }
}

function headOf(model: string | undefined) {
  return { model, created_at: new Date().toISOString() };
}

/**
 * Whole calls. One whose arguments are not an object, such as one that was cut, is no call to Ollama's clients; what there
 * is of it becomes text.
 */
function readCalls(calls: Choice['toolCalls']): { calls: object[]; rest: string } {
  const whole: object[] = [];
  let rest = '';
  for (const { id, name, arguments: json } of calls) {
    const given = json.trim() === '' ? {} : jsonOrText(json);
    if (isObject(given)) whole.push({ id, function: { index: whole.length, name, arguments: given } });
    else rest += `{"name": ${JSON.stringify(name)}, "arguments": ${json}`;
  }
  return { calls: whole, rest };
}

function logprobsOf(tokens: readonly TokenLogprob[], tops: number | undefined) {
  return tops === undefined || tokens.length === 0 ? {} : { logprobs: logprobsObject(tokens, tops).content };
}

/** Ollama has no reason of its own for calls. */
const REASONS = {
  stop: 'stop',
  length: 'length',
  tool_calls: 'stop',
  content_filter: 'content_filter',
} as const;

/** What the last line adds. Loading is the wait for a place in a model in memory. */
function lastFields(reason: FinishReason, usage: Usage, began: number, { trace }: ReplyInfo) {
  const { queueMs = 0, firstTokenMs = queueMs, decodeMs = 0 } = trace;
  return {
    done: true,
    done_reason: REASONS[reason],
    total_duration: nanoseconds(performance.now() - began),
    load_duration: nanoseconds(queueMs),
    prompt_eval_count: usage.promptTokens,
    prompt_eval_duration: nanoseconds(firstTokenMs - queueMs),
    eval_count: usage.completionTokens,
    eval_duration: nanoseconds(decodeMs),
  };
}

/** Never 0, because clients divide by it. */
export function nanoseconds(ms: number): number {
  return Math.max(1, Math.round(ms * 1e6));
}
