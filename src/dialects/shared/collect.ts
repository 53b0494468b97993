import type { FinishReason, ReplyEvent, Sink, TokenLogprob, Usage } from '../../contract.js';
import { LMServError } from '../../errors.js';

/** Characters of a reply in one piece, all choices together; a log probability counts as 64, the least its JSON has. */
export const MAX_SIZE = 16 * 1024 * 1024;
const LOGPROB_SIZE = 64;

const TOO_LARGE = 'The reply is larger than 16 Mi characters; stream it';

export interface ToolCall {
  readonly id: string;
  readonly type: 'function';
  readonly function: { readonly name: string; readonly arguments: string };
}

/** One choice of a finished reply. */
export interface Choice {
  text: string;
  reasoning: string;
  /** Pieces of the reasoning, usually one per token. */
  reasoningTokens: number;
  logprobs: TokenLogprob[];
  toolCalls: { id: string; name: string; arguments: string }[];
  finishReason: FinishReason;
  /** The stop string that ended it, if the backend tells. */
  stop?: string | undefined;
}

export interface Collected {
  readonly choices: readonly Choice[];
  readonly usage: Usage;
}

/** Gathers the events of a reply that is sent in one piece. */
export class Collector implements Sink<ReplyEvent> {
  readonly #choices: readonly Choice[];
  #usage: Usage = { promptTokens: 0, completionTokens: 0, cachedTokens: 0 };
  #size = 0;

  /** @param n the number of choices. */
  constructor(n: number) {
    this.#choices = Array.from({ length: n }, newChoice);
  }

  /** @throws LMServError `generation_failed` when the reply is larger than 16 Mi characters. */
  event(event: ReplyEvent): void {
    if (event.type === 'usage') this.#usage = event.usage;
    else if (event.type !== 'prefill') {
      this.#size += sizeOf(event);
      if (this.#size > MAX_SIZE) throw new LMServError('generation_failed', TOO_LARGE);
      add(this.#choices[event.index]!, event);
    }
  }

  collected(): Collected {
    return { choices: this.#choices, usage: this.#usage };
  }
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
  return { text: '', reasoning: '', reasoningTokens: 0, logprobs: [], toolCalls: [], finishReason: 'stop' };
}

type ChoiceEvent = Exclude<ReplyEvent, { type: 'usage' | 'prefill' }>;

/** What an event adds to the size of its reply. */
export function sizeOf(event: ChoiceEvent): number {
  switch (event.type) {
    case 'text':
      return event.text.length + (event.logprobs?.reduce(addLogprob, 0) ?? 0);
    case 'reasoning':
      return event.text.length;
    case 'tool_call':
      return event.call.arguments?.length ?? 0;
    case 'finish':
      return 0;
  }
}

function addLogprob(size: number, { top_logprobs: top }: TokenLogprob): number {
  return size + LOGPROB_SIZE * (1 + (Array.isArray(top) ? top.length : 0));
}

function add(choice: Choice, event: ChoiceEvent): void {
  switch (event.type) {
    case 'text':
      choice.text += event.text;
      for (const logprob of event.logprobs ?? []) choice.logprobs.push(logprob);
      break;
    case 'reasoning':
      choice.reasoning += event.text;
      choice.reasoningTokens += 1;
      break;
    case 'finish':
      choice.finishReason = event.reason;
      choice.stop = event.stop;
      break;
    case 'tool_call': {
      const call = (choice.toolCalls[event.call.index] ??= { id: '', name: '', arguments: '' });
      call.id ||= event.call.id ?? '';
      call.name ||= event.call.name ?? '';
      call.arguments += event.call.arguments ?? '';
    }
  }
}
