import { z } from 'zod';
import type { ReplyEvent, GenerateRequest, TokenLogprob } from '../../contract.js';
import { LMServError } from '../../errors.js';
import type { Dialect, ReplyInfo } from '../shared/dialect.js';
import { compact } from '../../compact.js';
import { constraintOf, constraints, withoutConstraints } from '../shared/constraints.js';
import { requestedTokens, choices, modelName, sampling, text } from '../shared/fields.js';
import { tokenIds } from '../shared/token-ids.js';
import { filled, list, optional, validate } from '../shared/validate.js';
import { OpenAiSse } from './chunks.js';
import { usageObject } from './usage.js';

/** Max choices of all prompts of a request together. */
const MAX_CHOICES = 128;

const prompt = z.union([text.min(1), tokenIds], { error: 'must be a non-empty text or list of token ids' });

const fields = {
  ...sampling,
  ...constraints,
  model: modelName,
  n: choices,
  stream: optional(z.boolean()),
  stream_options: filled(z.object({ include_usage: optional(z.boolean()) })),
  logprobs: optional(z.int().min(0).max(5)),
  echo: optional(z.literal(false, 'is not supported')),
  suffix: filled(text),
  best_of: optional(z.int().min(1)),
};

const schema = z.object({ ...fields, prompt });
const severalPrompts = z.object({ ...fields, prompt: list(prompt, { max: MAX_CHOICES }) });

type Prompt = z.output<typeof prompt>;
type CompletionBody = z.output<typeof schema> | z.output<typeof severalPrompts>;

/** `POST /v1/completions`: OpenAI's older route, which continues a raw prompt, or each of several. */
export const completions: Dialect = {
  description: {
    summary: 'OpenAI’s older completions, of raw prompts',
    body: z.union([schema, severalPrompts]),
    example: { prompt: 'Once upon a time', max_tokens: 16 },
    replies: ['application/json', 'text/event-stream'],
  },
  parse(body) {
    const { prompt: given } = body as { prompt?: unknown };
    // A list of numbers is one prompt, as token ids.
    const several = Array.isArray(given) && typeof given[0] !== 'number';
    const parsed = validate(several ? severalPrompts : schema, body);
    const request = toRequest(parsed, several);
    const tops = parsed.logprobs;
    if (parsed.stream === true) {
      const includeUsage = parsed.stream_options?.include_usage === true;
      return { request, stream: (info) => new CompletionChunks(info, includeUsage, tops) };
    }
    return {
      request,
      reply: ({ choices: found, usage }, info) => {
        return {
          id: `cmpl-${info.requestId}`,
          object: 'text_completion',
          created: info.created,
          model: info.trace.model,
          choices: found.map((choice, index) => ({
            text: choice.text,
            index,
            logprobs: tops === undefined ? null : new LogprobList(tops).add(choice.logprobs),
            finish_reason: choice.finishReason,
          })),
          usage: usageObject(usage),
        };
      },
    };
  },
};

/** @throws LMServError `invalid_value` for fields that cannot be combined, and for too many choices. */
function toRequest(parsed: CompletionBody, several: boolean): GenerateRequest {
  const { n = 1, best_of, model, prompt: given, ...remaining } = withoutConstraints(parsed);
  const { stream, stream_options, echo, ...others } = remaining;
  const { max_tokens, max_completion_tokens, n_predict, logprobs, ...settings } = others;
  if ((best_of ?? n) !== n) throw invalid('best_of', 'is not supported; use n');
  const prompts = several ? (given as Prompt[]) : [given as Prompt];
  if (others.suffix !== undefined && prompts.some((one) => typeof one !== 'string'))
    throw invalid('prompt', 'must be a text where there is a suffix');
  if (n * prompts.length > MAX_CHOICES)
    throw invalid('prompt', `at most ${MAX_CHOICES} choices are possible, those of all prompts together`);
  const body = compact({
    ...settings,
    ...constraintOf(parsed, 'raw')?.body,
    max_tokens: requestedTokens({ max_tokens, max_completion_tokens, n_predict }),
    // With 0 a worker would send none; the alternatives are left out later.
    logprobs: logprobs === undefined ? undefined : Math.max(1, logprobs),
    prompt: prompts.length === 1 ? prompts[0] : undefined,
  });
  const shared = { kind: 'raw', model, body } as const;
  return prompts.length === 1 ? { ...shared, n } : { ...shared, n: n * prompts.length, prompts };
}

function invalid(param: string, message: string): LMServError {
  return new LMServError('invalid_value', `${param}: ${message}`, { param });
}

class CompletionChunks extends OpenAiSse {
  readonly #lists = new Map<number, LogprobList>();

  readonly #tops: number;

  /** @param tops number of alternatives to each token. */
  constructor(info: ReplyInfo, includeUsage: boolean, tops = 0) {
    super(info, includeUsage, 'cmpl', 'text_completion');
    this.#tops = tops;
  }

  protected choiceEvent(event: Exclude<ReplyEvent, { type: 'usage' | 'prefill' }>): string {
    if (event.type === 'text') {
      const logprobs = event.logprobs ? JSON.stringify(this.#list(event.index).add(event.logprobs)) : 'null';
      return this.#choice(event.index, JSON.stringify(event.text), logprobs, 'null');
    }
    return event.type === 'finish'
      ? this.#choice(event.index, '""', 'null', JSON.stringify(event.reason))
      : '';
  }

  #list(index: number): LogprobList {
    const list = this.#lists.get(index) ?? new LogprobList(this.#tops);
    this.#lists.set(index, list);
    return list;
  }

  #choice(index: number, textJson: string, logprobs: string, reason: string): string {
    return this.chunk(
      `{"text":${textJson},"index":${index},"logprobs":${logprobs},"finish_reason":${reason}}`,
    );
  }
}

/** The older route's log probabilities: parallel lists, with the offset of each token in the text, characters. */
class LogprobList {
  #offset = 0;
  readonly #tops: number;

  constructor(tops: number) {
    this.#tops = tops;
  }

  add(tokens: readonly TokenLogprob[]) {
    const list = {
      tokens: [] as string[],
      token_logprobs: [] as number[],
      top_logprobs: [] as Record<string, number>[],
      text_offset: [] as number[],
    };
    for (const entry of tokens) {
      const { token, logprob, top_logprobs: top } = entry as unknown as OpenAiLogprob;
      list.tokens.push(token);
      list.token_logprobs.push(logprob);
      list.top_logprobs.push(
        Object.fromEntries((top ?? []).slice(0, this.#tops).map((other) => [other.token, other.logprob])),
      );
      list.text_offset.push(this.#offset);
      this.#offset += token.length;
    }
    return list;
  }
}

interface OpenAiLogprob {
  readonly token: string;
  readonly logprob: number;
  readonly top_logprobs?: readonly { readonly token: string; readonly logprob: number }[];
}
