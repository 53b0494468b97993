import type { Dialect } from '../shared/dialect.js';
import { imagesIn } from '../shared/images.js';
import { anthropicError } from './errors.js';
import { MessageEvents } from './events.js';
import { contentBlocks, messageObject } from './reply.js';
import { messageSchema, parseMessageBody } from './request.js';

const errorBody: Dialect['errorBody'] = (error, requestId) => ({ body: anthropicError(error, requestId) });

/** `POST /v1/messages`, streamed or as one JSON body. */
export const messages: Dialect = {
  description: {
    summary: 'Anthropic’s messages',
    body: messageSchema,
    example: { messages: [{ role: 'user', content: 'Hello' }], max_tokens: 16 },
    replies: ['application/json', 'text/event-stream'],
  },
  images: (body) => imagesIn((body as { messages?: unknown }).messages),
  parse(body) {
    const { request, stream, omitsThinking } = parseMessageBody(body);
    if (stream) return { request, stream: (info) => new MessageEvents(info, omitsThinking) };
    return {
      request,
      reply: ({ choices, usage }, info) => {
        const choice = choices[0]!;
        const finish = { reason: choice.finishReason, stop: choice.stop };
        return messageObject(info, contentBlocks(choice, omitsThinking), usage, finish);
      },
    };
  },
  errorBody,
};

/** `POST /v1/messages/count_tokens`. */
export const countTokens: Dialect = {
  description: {
    summary: 'Counts the tokens of Anthropic’s messages',
    body: messageSchema,
    example: { messages: [{ role: 'user', content: 'Hello' }] },
    replies: ['application/json'],
  },
  images: (body) => imagesIn((body as { messages?: unknown }).messages),
  parse(body) {
    const { request } = parseMessageBody(body);
    const ask = { about: 'prompt', model: request.model, request } as const;
    return { ask, answer: (tokens) => ({ input_tokens: tokens }) };
  },
  errorBody,
};
