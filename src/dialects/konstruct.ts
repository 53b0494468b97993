import { z } from 'zod';
import type { FinishReason, GenerateRequest } from '../contract.js';
import { LMServError, openAiError } from '../errors.js';
import { toolCalls } from './shared/collect.js';
import type { Dialect, StreamEncoder } from './shared/dialect.js';
import { text } from './shared/fields.js';
import { chatFields, parseChatBody, type ChatRequestBody } from './openai/chat-request.js';
import { optional, validate } from './shared/validate.js';

/** What clients of Konstruct know as the one failure of all backends. */
const ALL_UNAVAILABLE = 'All providers unavailable';

/** Konstruct's own fields; all others are those of `/v1/chat/completions`. */
const schema = z.object({
  model: text.min(1).max(256),
  tenant_id: optional(text.min(1).max(128)),
});

/** `POST /complete`: one JSON body with either the text or the tool calls. */
export const complete: Dialect = {
  parse(body) {
    const { request } = parseBody(body);
    return {
      request,
      reply: ({ choices, usage }) => {
        const choice = choices[0]!;
        const calls = toolCalls(choice);
        return {
          // Types never change: what is not filled is empty, not null.
          content: calls.length > 0 ? '' : choice.text,
          model: request.model,
          usage: { prompt_tokens: usage.promptTokens, completion_tokens: usage.completionTokens },
          tool_calls: calls,
          finish_reason: choice.finishReason,
        };
      },
    };
  },
  errorBody,
};

/** `POST /complete/stream`: the same as NDJSON, a line a piece of text; a line cannot carry a tool call. */
export const completeStream: Dialect = {
  parse(body) {
    const { request, given } = parseBody(body);
    if (given.tools?.length) {
      throw new LMServError('invalid_value', 'tools: are not streamed here; use /complete', {
        param: 'tools',
      });
    }
    return { request, stream: () => lines() };
  },
  errorBody,
};

function parseBody(body: unknown): { request: GenerateRequest; given: ChatRequestBody } {
  const { model, tenant_id: tenant } = validate(schema, body);
  const given = parseChatBody(body);
  return { given, request: { kind: 'chat', n: 1, model, body: chatFields(given), tenant } };
}

/** One line of newline-delimited JSON, which a text has no line break in. */
const lineOf = (value: object): string => `${JSON.stringify(value)}\n`;

/** A reply that ends otherwise than by itself says so in its last line. */
function lines(): StreamEncoder {
  let reason: FinishReason = 'stop';
  return {
    contentType: 'application/x-ndjson',
    event(event) {
      if (event.type === 'finish') reason = event.reason;
      return event.type === 'text' && event.text !== '' ? lineOf({ type: 'chunk', text: event.text }) : '';
    },
    end: () => lineOf({ type: 'done', ...(reason === 'stop' ? {} : { finish_reason: reason }) }),
    error: (error) => lineOf({ type: 'error', ...lineError(error) }),
    errorsAsStream: true,
  };
}

function lineError(error: LMServError): { message: string; code?: string } {
  return isUnavailable(error) ? { message: ALL_UNAVAILABLE } : { message: error.message, code: error.code };
}

function errorBody(error: LMServError): { body: unknown; status?: number } {
  return isUnavailable(error)
    ? { body: { error: ALL_UNAVAILABLE }, status: 503 }
    : { body: { error: openAiError(error) } };
}

/** No backend could answer: an unknown group is one without backends. Our own bugs and the client's faults are not this. */
function isUnavailable({ code, status }: LMServError): boolean {
  if (code === 'model_not_found' || code === 'provider_rate_limited') return true;
  return status >= 500 && code !== 'internal_error';
}
