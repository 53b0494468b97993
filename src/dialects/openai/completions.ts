import { z } from 'zod';
import type { ReplyEvent, JsonObject, TokenLogprob } from '../../contract.js';
import type { Dialect, ReplyInfo } from '../shared/dialect.js';
import { compact } from '../../compact.js';
import { requestedTokens, choices, modelName, sampling, text } from '../shared/fields.js';
import { list, optional, validate } from '../shared/validate.js';
import { OpenAiSse } from './chunks.js';
import { usageObject } from './usage.js';

/** A worker's token ids have 32 bits; larger ones would wrap around. */
const MAX_TOKEN_ID = 2_147_483_647;

/** Checked in one loop, because a prompt may have as many ids as the context has tokens. */
const tokenIds = z.custom<number[]>(Array.isArray).superRefine((ids, context) => {
  const invalid = ids.findIndex((id) => !Number.isInteger(id) || id < 0 || id > MAX_TOKEN_ID);
  if (invalid >= 0) context.addIssue({ code: 'custom', path: [invalid], message: 'must be a token id' });
  else if (ids.length === 0) context.addIssue('must not be empty');
});

const prompt = z.union([text.min(1), list(text.min(1), { max: 1 }), tokenIds], {
  error: 'must be a non-empty string, a list of one string, or a list of token ids',
});

const schema = z.object({
  ...sampling,
  model: modelName,
  prompt,
  n: choices,
  stream: optional(z.boolean()),
  stream_options: optional(z.object({ include_usage: optional(z.boolean()) })),
  logprobs: optional(z.int().min(0).max(5)),
  echo: optional(z.literal(false, 'is not supported')),
  suffix: optional(z.literal('', 'is not supported')),
  best_of: optional(z.literal(1, 'is not supported; use n')),
});

/** `POST /v1/completions`: OpenAI's older route, which continues a raw prompt. */
export const completions: Dialect = {
  parse(body) {
    const parsed = validate(schema, body);
    const n = parsed.n ?? 1;
    const request = { kind: 'raw', n, model: parsed.model, body: fields(parsed) } as const;
    if (parsed.stream === true) {
      const includeUsage = parsed.stream_options?.include_usage === true;
      return { request, stream: (info) => new CompletionChunks(info, includeUsage) };
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
            logprobs: parsed.logprobs === undefined ? null : new LogprobList().add(choice.logprobs),
            finish_reason: choice.finishReason,
          })),
          usage: usageObject(usage),
        };
      },
    };
  },
};

function fields(parsed: z.output<typeof schema>): JsonObject {
  const { model, n, stream, stream_options, echo, suffix, best_of, ...remaining } = parsed;
  const { max_tokens, max_completion_tokens, n_predict, prompt: given, ...others } = remaining;
  return compact({
    ...others,
    max_tokens: requestedTokens({ max_tokens, max_completion_tokens, n_predict }),
    prompt: Array.isArray(given) && typeof given[0] === 'string' ? given[0] : given,
  });
}

class CompletionChunks extends OpenAiSse {
  readonly #lists = new Map<number, LogprobList>();

  constructor(info: ReplyInfo, includeUsage: boolean) {
    super(info, includeUsage, 'cmpl', 'text_completion');
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
    const list = this.#lists.get(index) ?? new LogprobList();
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
      list.top_logprobs.push(Object.fromEntries((top ?? []).map((other) => [other.token, other.logprob])));
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
