import { z } from 'zod';
import type { GenerateRequest } from '../../contract.js';
import { compact } from '../../compact.js';
import { LMServError } from '../../errors.js';
import { chatFields } from '../openai/chat-request.js';
import { constraintOf } from '../shared/constraints.js';
import type { Dialect } from '../shared/dialect.js';
import { text } from '../shared/fields.js';
import { filled, optional, validate } from '../shared/validate.js';
import { callOf } from './chat.js';
import { errorBody } from './errors.js';
import { images, imagesIn, question } from './messages.js';
import { common, contextLength, refused, responseFormat, samplingFields, thinkFields } from './options.js';
import { asResponse, STREAMED } from './reply.js';

const schema = z.object({
  ...common,
  prompt: optional(text).transform((words) => words ?? ''),
  system: filled(text),
  images,
  raw: optional(z.boolean()),
  suffix: refused('is not supported'),
  template: refused("is not supported; set raw and send the whole prompt, or use the model's own template"),
  context: refused('is not supported; send the conversation to /api/chat'),
});

/** `POST /api/generate`: a question, or with `raw` a prompt to be continued. */
export const generate: Dialect = {
  description: {
    summary: 'Ollama’s completions, of questions or raw prompts',
    body: schema,
    example: { prompt: 'Hello', options: { num_predict: 16 } },
    replies: STREAMED,
  },
  images: imagesIn,
  parse(body) {
    const began = performance.now();
    const parsed = validate(schema, body);
    const { model, keep_alive: keepAlive, logprobs, top_logprobs: tops = 0 } = parsed;
    const request = {
      ...(parsed.raw === true ? rawRequest(parsed) : chatRequest(parsed)),
      ...{ n: 1, model, contextLength: contextLength(parsed) },
    };
    const form = { shape: asResponse, model, began, tops: logprobs === true ? tops : undefined };
    return callOf({ request, keepAlive }, form, parsed.stream, parsed.prompt === '');
  },
  errorBody,
};

type Parsed = z.output<typeof schema>;

function chatRequest(parsed: Parsed): Pick<GenerateRequest, 'kind' | 'body'> {
  const body = chatFields({
    ...samplingFields(parsed),
    ...thinkFields(parsed),
    messages: question(parsed.prompt, parsed.images, parsed.system),
    response_format: responseFormat(parsed),
    logprobs: parsed.logprobs === true ? true : undefined,
    top_logprobs: parsed.top_logprobs,
  });
  return { kind: 'chat', body };
}

/** Without a template there is no place for a system message or images. */
function rawRequest(parsed: Parsed): Pick<GenerateRequest, 'kind' | 'body'> {
  const misplaced = parsed.system === undefined ? parsed.images.length > 0 && 'images' : 'system';
  if (misplaced)
    throw new LMServError('invalid_value', `${misplaced}: cannot be combined with raw`, { param: misplaced });
  const body = compact({
    ...samplingFields(parsed),
    ...constraintOf({ response_format: responseFormat(parsed) }, 'raw')?.body,
    // With 0 a worker would send none; the alternatives are left out later.
    logprobs: parsed.logprobs === true ? Math.max(1, parsed.top_logprobs ?? 0) : undefined,
    prompt: parsed.prompt,
  });
  return { kind: 'raw', body };
}
