import { z } from 'zod';
import type { FinishReason } from '../contract.js';
import type { Dialect, StreamEncoder } from './shared/dialect.js';
import { compact } from '../compact.js';
import { maxTokens, modelName, repeatPenalty, temperature, text, topP } from './shared/fields.js';
import { validate } from './shared/validate.js';

const schema = z.object({
  prompt: text.min(1),
  system_prompt: text.nullish(),
  model: modelName,
  max_tokens: maxTokens,
  temperature,
  top_p: topP,
  repeat_penalty: repeatPenalty,
});

const DEFAULTS = {
  sampling: { temperature: 0.8, top_p: 0.9, repeat_penalty: 1.1 },
  system: 'You are a helpful assistant.',
};

/** `POST /chat`: takes a prompt and streams plain text, one chunk per token. */
export const chat: Dialect = {
  description: {
    summary: 'Replies to a prompt in plain text, piece by piece',
    body: schema,
    example: { prompt: 'Hello', max_tokens: 16 },
    replies: ['text/plain'],
  },
  parse(body) {
    const parsed = validate(schema, body);
    const { prompt, system_prompt: system, model, max_tokens = 256, ...sampling } = parsed;
    const messages = [
      ...(system == null ? [] : [{ role: 'system', content: system }]),
      { role: 'user', content: prompt },
    ];
    return {
      request: {
        kind: 'chat',
        n: 1,
        model,
        defaults: DEFAULTS,
        body: compact({ messages, max_tokens, ...sampling }),
      },
      stream: () => plainText(),
    };
  },
};

/** Streams the reply without reasoning. The finish reason is in a trailer, because plain text has no place for it. */
function plainText(): StreamEncoder {
  let reason: FinishReason = 'stop';
  return {
    contentType: 'text/plain; charset=utf-8',
    event(event) {
      if (event.type === 'finish') reason = event.reason;
      return event.type === 'text' ? event.text : '';
    },
    end: () => '',
    error: () => undefined,
    trailers: { names: ['X-Finish-Reason'], values: () => ({ 'X-Finish-Reason': reason }) },
  };
}
