import { z } from 'zod';
import type { FinishReason, GenerateRequest } from '../contract.js';
import { LMServError, openAiError } from '../errors.js';
import { toolCalls } from './shared/collect.js';
import type { Dialect, StreamEncoder } from './shared/dialect.js';
import { text } from './shared/fields.js';
import { imagesIn } from './shared/images.js';
import { chatFields, chatSchema, parseChatBody, type ChatRequestBody } from './openai/chat-request.js';
import { optional, validate } from './shared/validate.js';

/** The single message that Konstruct's clients expect when all backends have failed. */
const ALL_UNAVAILABLE = 'All providers unavailable';

/** Konstruct's own fields; the others are those of `/v1/chat/completions`. */
const schema = z.object({
  model: text.min(1).max(256),
  tenant_id: optional(text.min(1).max(128)),
});

const bodySchema = z.object({ ...chatSchema.shape, ...schema.shape });

const EXAMPLE = { model: 'default', messages: [{ role: 'user', content: 'Hello' }], max_tokens: 16 };

/** `POST /complete`: replies with one JSON body that has either text or tool calls. */
export const complete: Dialect = {
  description: {
    summary: 'A chat’s reply or tool calls, for a tenant',
    body: bodySchema,
    example: EXAMPLE,
    replies: ['application/json'],
  },
  images: (body) => imagesIn((body as { messages?: unknown }).messages),
  parse(body) {
    const { request } = parseBody(body);
    return {
      request,
      reply: ({ choices, usage }) => {
        const choice = choices[0]!;
        const calls = toolCalls(choice);
        return {
          // The types never change: an unused field is empty, not null.
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

/** `POST /complete/stream`: streams NDJSON, one line per piece of text; its lines cannot carry tool calls. */
export const completeStream: Dialect = {
  description: {
    summary: 'A chat’s reply in lines of JSON',
    body: bodySchema,
    example: EXAMPLE,
    replies: ['application/x-ndjson'],
  },
  images: (body) => imagesIn((body as { messages?: unknown }).messages),
  parse(body) {
    const { request, parsed } = parseBody(body);
    if (parsed.tools?.length) {
      throw new LMServError('invalid_value', 'tools: cannot be streamed; use /complete', {
        param: 'tools',
      });
    }
    return { request, stream: () => lines() };
  },
  errorBody,
};

function parseBody(body: unknown): { request: GenerateRequest; parsed: ChatRequestBody } {
  const { model, tenant_id: tenant } = validate(schema, body);
  const parsed = parseChatBody(body);
  return { parsed, request: { kind: 'chat', n: 1, model, body: chatFields(parsed), tenant } };
}

/** One line of newline-delimited JSON. */
const lineOf = (value: object): string => `${JSON.stringify(value)}\n`;

/** The last line has the finish reason unless it is `stop`. */
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

/** Whether no backend could serve the request, as with an unknown group. Internal and client errors are excluded. */
function isUnavailable({ code, status }: LMServError): boolean {
  if (code === 'model_not_found' || code === 'provider_rate_limited') return true;
  return status >= 500 && code !== 'internal_error';
}
