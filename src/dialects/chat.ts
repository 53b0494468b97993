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

/** `POST /chat`: takes a prompt and streams plain text, one chunk per token. */
export const chat: Dialect = {
  parse(body) {
    const parsed = validate(schema, body);
    const messages = [
      { role: 'system', content: parsed.system_prompt ?? 'You are a helpful assistant.' },
      { role: 'user', content: parsed.prompt },
    ];
    const fields = {
      max_tokens: parsed.max_tokens ?? 256,
      temperature: parsed.temperature ?? 0.8,
      top_p: parsed.top_p ?? 0.9,
      repeat_penalty: parsed.repeat_penalty ?? 1.1,
    };
    return {
      request: { kind: 'chat', n: 1, model: parsed.model, body: compact({ messages, ...fields }) },
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
