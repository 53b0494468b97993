import { z } from 'zod';
import type { GenerateRequest, KeepAlive } from '../../contract.js';
import { chatFields, checkToolChoice } from '../openai/chat-request.js';
import { toolChoice, tools } from '../openai/tools.js';
import type { Collected } from '../shared/collect.js';
import type { Call, Dialect, ReplyInfo } from '../shared/dialect.js';
import { filled, validate } from '../shared/validate.js';
import { errorBody } from './errors.js';
import { imagesIn, messages } from './messages.js';
import { common, contextLength, responseFormat, samplingFields, thinkFields } from './options.js';
import { asMessage, ReplyLines, replyObject, settledObject, STREAMED, type ReplyForm } from './reply.js';

const schema = z.object({
  ...common,
  messages,
  tools: filled(tools),
  // Not a field of Ollama's, but one that some clients send.
  tool_choice: filled(toolChoice),
});

/** `POST /api/chat`. */
export const chat: Dialect = {
  description: {
    summary: 'Ollama’s chat',
    body: schema,
    example: { messages: [{ role: 'user', content: 'Hello' }], options: { num_predict: 16 } },
    replies: STREAMED,
  },
  images: ({ messages: turns }: { readonly messages?: unknown }) =>
    Array.isArray(turns) ? turns.reduce<number>((sum, turn) => sum + imagesIn(turn), 0) : 0,
  parse(body) {
    const began = performance.now();
    const parsed = validate(schema, body);
    const { model, keep_alive: keepAlive, logprobs, top_logprobs: tops = 0 } = parsed;
    const calling = { tools: parsed.tools, tool_choice: parsed.tool_choice };
    checkToolChoice(calling);
    const fields = {
      ...samplingFields(parsed),
      ...thinkFields(parsed),
      messages: parsed.messages,
      ...calling,
      response_format: responseFormat(parsed),
      logprobs: logprobs === true ? true : undefined,
      top_logprobs: tops,
    };
    const request = {
      ...{ kind: 'chat' as const, n: 1, model, body: chatFields(fields) },
      contextLength: contextLength(parsed),
    };
    const form = { shape: asMessage, model, began, tops: logprobs === true ? tops : undefined };
    return callOf({ request, keepAlive }, form, parsed.stream, parsed.messages.length === 0);
  },
  errorBody,
};

/** @param idle there is nothing to reply to: the model is only loaded or unloaded. */
export function callOf(
  asked: { readonly request: GenerateRequest; readonly keepAlive?: KeepAlive | undefined },
  form: ReplyForm,
  stream = true,
  idle = false,
): Call {
  if (idle) {
    const reason = asked.keepAlive === 'unload' ? 'unload' : 'load';
    return { ...asked, settled: () => settledObject(form, reason) };
  }
  if (stream) return { ...asked, stream: (info: ReplyInfo) => new ReplyLines(form, info) };
  return { ...asked, reply: (collected: Collected, info: ReplyInfo) => replyObject(form, collected, info) };
}
