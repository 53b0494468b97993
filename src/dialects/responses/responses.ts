import type { Dialect } from '../shared/dialect.js';
import { imagesIn } from '../shared/images.js';
import { ResponseEvents } from './events.js';
import { wholeResponse } from './output.js';
import { parseRequest, responsesSchema } from './request.js';

/** `POST /v1/responses`, streamed or as one JSON body. Nothing is stored: each request brings its whole conversation. */
export const responses: Dialect = {
  description: {
    summary: 'OpenAI’s responses, which are not stored',
    body: responsesSchema,
    example: { input: 'Hello', max_output_tokens: 16 },
    replies: ['application/json', 'text/event-stream'],
  },
  images: (body) => imagesIn((body as { input?: unknown }).input),
  parse(body) {
    const parsed = parseRequest(body);
    const { request } = parsed;
    return parsed.body.stream === true
      ? { request, stream: (info) => new ResponseEvents(parsed, info) }
      : { request, reply: (collected, info) => wholeResponse(parsed, collected, info) };
  },
};
