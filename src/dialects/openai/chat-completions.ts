import type { Dialect } from '../shared/dialect.js';
import { toolCalls, type Choice } from '../shared/collect.js';
import { chatFields, parseChatBody, priorityOf } from './chat-request.js';
import { ChatChunks } from './chunks.js';
import { usageObject } from './usage.js';

/** `POST /v1/chat/completions`, streamed and not. */
export const chatCompletions: Dialect = {
  parse(body) {
    const given = parseChatBody(body);
    const n = given.n ?? 1;
    const asked = { n, model: given.model, body: chatFields(given), ...priorityOf(given) };
    const request = { kind: 'chat', ...asked } as const;
    if (given.stream === true) {
      const includeUsage = given.stream_options?.include_usage === true;
      return { request, stream: (info) => new ChatChunks(info, includeUsage) };
    }
    return {
      request,
      reply: ({ choices, usage }, info) => {
        return {
          id: `chatcmpl-${info.requestId}`,
          object: 'chat.completion',
          created: info.created,
          model: info.trace.model,
          choices: choices.map((choice, index) => choiceObject(choice, index, given.logprobs === true)),
          usage: usageObject(usage),
        };
      },
    };
  },
};

function choiceObject(choice: Choice, index: number, logprobs: boolean) {
  const calls = toolCalls(choice);
  return {
    index,
    message: {
      role: 'assistant',
      // OpenAI's content is null when the message is only a call.
      content: calls.length > 0 && choice.text === '' ? null : choice.text,
      refusal: null,
      ...(choice.reasoning ? { reasoning_content: choice.reasoning } : {}),
      ...(calls.length > 0 ? { tool_calls: calls } : {}),
    },
    logprobs: logprobs ? { content: choice.logprobs, refusal: null } : null,
    finish_reason: choice.finishReason,
  };
}
