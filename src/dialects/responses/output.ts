import { randomBytes } from 'node:crypto';
import type { FinishReason, Json, JsonObject, TokenLogprob, Usage } from '../../contract.js';
import type { LMServError } from '../../errors.js';
import type { Choice, Collected } from '../shared/collect.js';
import type { ReplyInfo } from '../shared/dialect.js';
import { logprobsObject } from '../openai/chunks.js';
import type { ParsedRequest } from './request.js';

/** The objects of a reply: its output items, and the response that holds them. */

/** What an item says: the answer, reasoning as itself or as a summary, or a call of a function. */
export type ItemKind = 'text' | 'reasoning' | 'summary' | 'call';

export type ItemStatus = 'in_progress' | 'completed' | 'incomplete';

const PREFIXES = { text: 'msg', reasoning: 'rs', summary: 'rs', call: 'fc' } as const;

/** A new id with 192 random bits. */
const newId = (prefix: string): string => `${prefix}_${randomBytes(24).toString('hex')}`;

/** One item of the output, which grows as the reply arrives. */
export class OutputItem {
  readonly id: string;
  /** Text, reasoning, or the arguments of a call. */
  text = '';
  readonly logprobs: JsonObject[] = [];
  /** Its status once it is done. */
  status: ItemStatus = 'completed';

  /** @param call the call's id and function, for an item of that kind. */
  constructor(
    readonly kind: ItemKind,
    readonly call: { readonly id: string; readonly name: string; readonly namespace?: string } = NO_CALL,
  ) {
    this.id = newId(PREFIXES[kind]);
  }

  /** The item's only part; a call has none. */
  get part(): JsonObject {
    if (this.kind !== 'text') return { type: PARTS[this.kind], text: this.text };
    return { type: PARTS.text, annotations: [], logprobs: this.logprobs, text: this.text };
  }

  /** The item as it is sent when it is done, or, without its content, when it begins. */
  toJson(status: ItemStatus = this.status): JsonObject {
    const { id, kind } = this;
    const parts = status === 'in_progress' ? [] : [this.part];
    switch (kind) {
      case 'text':
        return { id, type: 'message', status, role: 'assistant', content: parts };
      case 'reasoning':
        return { id, type: 'reasoning', status, summary: [], content: parts };
      case 'summary':
        return { id, type: 'reasoning', status, summary: parts };
      case 'call': {
        const { id: callId, ...called } = this.call;
        const written = status === 'in_progress' ? '' : this.text;
        return { id, type: 'function_call', status, arguments: written, call_id: callId, ...called };
      }
    }
  }
}

const NO_CALL = { id: '', name: '' };

const PARTS = {
  text: 'output_text',
  reasoning: 'reasoning_text',
  summary: 'summary_text',
  call: '',
} as const;

/** Log probabilities as this API has them: in a flat list. */
export function logprobsOf(tokens: readonly TokenLogprob[], tops: number): JsonObject[] {
  return logprobsObject(tokens, tops).content;
}

/** How a reply stands. */
export interface State {
  readonly output: readonly OutputItem[];
  /** Absent while it goes on. */
  readonly reason?: FinishReason | undefined;
  readonly usage?: Usage | undefined;
  /** Tokens of reasoning. */
  readonly reasoningTokens?: number;
  readonly error?: LMServError | undefined;
}

/** Why a reply is incomplete, in this API's words. */
const INCOMPLETE: { readonly [R in FinishReason]?: string } = {
  length: 'max_output_tokens',
  content_filter: 'content_filter',
};

/** Builds the response objects of one reply, which differ in what has come so far. */
export class ResponseObject {
  readonly #id = newId('resp');
  readonly #info: ReplyInfo;
  readonly #settings: JsonObject;
  readonly #named: string | undefined;

  constructor({ body, summary }: ParsedRequest, info: ReplyInfo) {
    this.#info = info;
    this.#named = body.model;
    const { format = { type: 'text' }, verbosity = 'medium' } = body.text ?? {};
    this.#settings = {
      background: false,
      instructions: body.instructions ?? null,
      max_output_tokens: body.max_output_tokens ?? null,
      metadata: body.metadata ?? {},
      parallel_tool_calls: body.parallel_tool_calls ?? true,
      previous_response_id: null,
      prompt_cache_key: body.prompt_cache_key ?? null,
      reasoning: { effort: body.reasoning?.effort ?? null, summary: summary ?? null },
      safety_identifier: body.safety_identifier ?? null,
      service_tier: body.service_tier === 'flex' ? 'flex' : 'default',
      store: false,
      temperature: body.temperature ?? null,
      text: { format: format as Json, verbosity },
      tool_choice: (body.tool_choice ?? 'auto') as Json,
      tools: (body.tools ?? []) as Json,
      top_logprobs: body.top_logprobs ?? 0,
      top_p: body.top_p ?? null,
      truncation: 'disabled',
      user: body.user ?? null,
    };
  }

  toJson({ output, reason, usage, reasoningTokens = 0, error }: State): JsonObject {
    const { created, trace } = this.#info;
    const incomplete = reason && INCOMPLETE[reason];
    const status = statusOf(reason, error);
    return {
      id: this.#id,
      object: 'response',
      created_at: created,
      ...(status === 'completed' ? { completed_at: Math.floor(Date.now() / 1000) } : {}),
      status,
      error: error ? { code: errorCode(error), message: error.message } : null,
      incomplete_details: incomplete === undefined ? null : { reason: incomplete },
      model: trace.model ?? this.#named ?? '',
      output: output.map((item) => item.toJson()),
      usage: usage ? usageOf(usage, reasoningTokens) : null,
      ...this.#settings,
    };
  }
}

/** The status that the finish reason gives the last item, and the reply. */
export function statusAtEnd(reason: FinishReason): 'completed' | 'incomplete' {
  return INCOMPLETE[reason] === undefined ? 'completed' : 'incomplete';
}

/** The items of a reply that came in one piece. */
export function itemsOf(choice: Choice, { summary, logprobs, body, nameOf }: ParsedRequest): OutputItem[] {
  const items: OutputItem[] = [];
  const add = (item: OutputItem, text: string) => items.push(Object.assign(item, { text }));
  if (choice.reasoning) add(new OutputItem(summary ? 'summary' : 'reasoning'), choice.reasoning);
  if (choice.text || needsText(choice.finishReason, choice.toolCalls.length)) {
    const item = new OutputItem('text');
    if (logprobs) item.logprobs.push(...logprobsOf(choice.logprobs, body.top_logprobs ?? 0));
    add(item, choice.text);
  }
  for (const { id, name, arguments: given } of choice.toolCalls)
    add(new OutputItem('call', { id, ...nameOf(name) }), given);
  const last = items.at(-1);
  if (last) last.status = statusAtEnd(choice.finishReason);
  return items;
}

/** Whether a reply without text has an empty one, so that clients find a message in it. */
export function needsText(reason: FinishReason, calls: number): boolean {
  return calls === 0 && statusAtEnd(reason) === 'completed';
}

/** The body of a reply that is not streamed. */
export function wholeResponse(
  parsed: ParsedRequest,
  { choices, usage }: Collected,
  info: ReplyInfo,
): JsonObject {
  const choice = choices[0]!;
  const { finishReason: reason, reasoningTokens } = choice;
  return new ResponseObject(parsed, info).toJson({
    output: itemsOf(choice, parsed),
    reason,
    usage,
    reasoningTokens,
  });
}

function statusOf(reason: FinishReason | undefined, error: LMServError | undefined): string {
  if (error) return 'failed';
  return reason === undefined ? 'in_progress' : statusAtEnd(reason);
}

/** The code of a response's error, of which OpenAI has few. */
function errorCode({ code, type }: LMServError): string {
  if (type === 'rate_limit_error') return 'rate_limit_exceeded';
  return type === 'invalid_request_error' && code !== 'model_not_found' ? 'invalid_prompt' : 'server_error';
}

function usageOf({ promptTokens, completionTokens, cachedTokens }: Usage, reasoningTokens: number) {
  return {
    input_tokens: promptTokens,
    input_tokens_details: { cache_write_tokens: 0, cached_tokens: cachedTokens },
    output_tokens: completionTokens,
    output_tokens_details: { reasoning_tokens: Math.min(reasoningTokens, completionTokens) },
    total_tokens: promptTokens + completionTokens,
  };
}
