import { z } from 'zod';
import type { FinishReason } from '../contract.js';
import type { Dialect, StreamEncoder } from './shared/dialect.js';
import { compact, maxTokens, modelName, repeatPenalty, temperature, text, topP } from './shared/fields.js';
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

/** `POST /chat`: a prompt in, plain text out, a chunk a token. */
export const chat: Dialect = {
  parse(body) {
    const given = validate(schema, body);
    const messages = [
      { role: 'system', content: given.system_prompt ?? 'You are a helpful assistant.' },
      { role: 'user', content: given.prompt },
    ];
    const fields = {
      max_tokens: given.max_tokens ?? 256,
      temperature: given.temperature ?? 0.8,
      top_p: given.top_p ?? 0.9,
      repeat_penalty: given.repeat_penalty ?? 1.1,
    };
    return {
      request: { kind: 'chat', n: 1, model: given.model, body: compact({ messages, ...fields }) },
      stream: () => plainText(),
    };
  },
};

/** The answer alone, without reasoning; how it ended is told in a trailer, because text cannot. */
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
