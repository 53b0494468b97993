import type { Dialect } from '../shared/dialect.js';
import { imagesIn } from '../shared/images.js';
import { toolCalls, type Choice } from '../shared/collect.js';
import { chatFields, chatSchema, parseChatBody, parsePriority } from './chat-request.js';
import { ChatChunks, logprobsObject } from './chunks.js';
import { usageObject } from './usage.js';

/** `POST /v1/chat/completions`, streamed or as one JSON body. */
export const chatCompletions: Dialect = {
  description: {
    summary: 'OpenAI’s chat completions',
    body: chatSchema,
    example: { messages: [{ role: 'user', content: 'Hello' }], max_tokens: 16 },
    replies: ['application/json', 'text/event-stream'],
  },
  images: (body) => imagesIn((body as { messages?: unknown }).messages),
  parse(body) {
    const parsed = parseChatBody(body);
    const n = parsed.n ?? 1;
    const shared = { n, model: parsed.model, body: chatFields(parsed), ...parsePriority(parsed) };
    const request = { kind: 'chat', ...shared } as const;
    if (parsed.stream === true) {
      const includeUsage = parsed.stream_options?.include_usage === true;
      return { request, stream: (info) => new ChatChunks(info, includeUsage, parsed.top_logprobs) };
    }
    return {
      request,
      reply: ({ choices, usage }, info) => {
        return {
          id: `chatcmpl-${info.requestId}`,
          object: 'chat.completion',
          created: info.created,
          model: info.trace.model,
          choices: choices.map((choice, index) =>
            choiceObject(choice, index, parsed.logprobs === true ? (parsed.top_logprobs ?? 0) : undefined),
          ),
          usage: usageObject(usage),
        };
      },
    };
  },
};

/** @param tops number of alternatives to each token; undefined for no log probabilities. */
function choiceObject(choice: Choice, index: number, tops: number | undefined) {
  const calls = toolCalls(choice);
  return {
    index,
    message: {
      role: 'assistant',
      // OpenAI's content is null in a message that only calls tools.
      content: calls.length > 0 && choice.text === '' ? null : choice.text,
      refusal: null,
      ...(choice.reasoning ? { reasoning_content: choice.reasoning } : {}),
      ...(calls.length > 0 ? { tool_calls: calls } : {}),
    },
    logprobs: tops === undefined ? null : logprobsObject(choice.logprobs, tops),
    finish_reason: choice.finishReason,
  };
}
