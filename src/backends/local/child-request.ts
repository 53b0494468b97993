import type { GenerateRequest, Json, JsonObject } from '../../contract.js';
import { LMServError } from '../../errors.js';
import { conversationText } from '../../pool/prefix.js';
import { hasImage } from '../../wire/images.js';
import { isObject } from '../../wire/json-shape.js';

/** The path and body to post to a llama.cpp child. */
export interface ChildRequest {
  readonly path: '/v1/chat/completions' | '/v1/completions';
  readonly body: JsonObject;
}

/** Translates a request for the child, working around differences between llama.cpp and OpenAI. */
export function toChildRequest(request: GenerateRequest): ChildRequest {
  const common: JsonObject = { stream_options: { include_usage: true }, sse_ping_interval: -1 };
  if (request.kind === 'raw') return { path: '/v1/completions', body: { ...request.body, ...common } };
  const body = withoutDroppedForm(request.body);
  return {
    path: '/v1/chat/completions',
    body: { ...body, ...namedTool(body), ...continuationFields(body), ...stopFields(body), ...common },
  };
}

/**
 * Refuses what llama.cpp would refuse in words that name no field: log probabilities in a stream next to tools, where it
 * would lose those of text that may begin a call, and a last turn that calls a tool, which it takes for one to be continued.
 *
 * @throws LMServError `invalid_value`.
 */
export function checkChildRequest({ kind, body }: GenerateRequest): void {
  if (kind === 'raw') return;
  if (body.tools !== undefined && body.logprobs === true)
    throw new LMServError('invalid_value', 'logprobs: this model has none next to tools', {
      param: 'logprobs',
    });
  if ((body.messages as JsonObject[]).at(-1)?.tool_calls !== undefined) {
    const message = 'messages: the last turn calls a tool; the result of the call must follow';
    throw new LMServError('invalid_value', message, { param: 'messages' });
  }
}

/** @throws LMServError `invalid_value` for a message with an image if the model does not take any. */
export function requireImages(body: JsonObject, takesImages: boolean, model: string): void {
  if (hasImage(body) && !takesImages)
    throw new LMServError('invalid_value', `messages: the model ${model} does not take images`, {
      param: 'messages',
    });
}

/** The last chunk repeats the prompt, and the reader of events takes at most a million characters. */
const MAX_REPEATED = 500_000;

/** llama.cpp names the stop string that ended a reply only among details for debugging. */
export function stopFields(body: JsonObject): JsonObject {
  if (body.stop === undefined) return {};
  return conversationText(body).length < MAX_REPEATED ? { verbose: true } : {};
}

/** Whether the reply to a request tells if a stop string ended it. */
export function tellsStop({ body }: ChildRequest): boolean {
  return body.stop === undefined || body.verbose === true;
}

/** Whether a form next to tools is left out: llama.cpp enforces it from the first token, so that no tool could be called. */
export function dropsForm(body: JsonObject): boolean {
  return body.response_format !== undefined && body.tools !== undefined && body.tool_choice !== 'none';
}

function withoutDroppedForm(body: JsonObject): JsonObject {
  if (!dropsForm(body)) return body;
  const { response_format: _, ...others } = body;
  return others;
}

/** llama.cpp treats an object in tool_choice as `auto`, so this sends `required` with only that tool. */
function namedTool(body: JsonObject): JsonObject {
  const choice = body.tool_choice;
  if (!isObject(choice)) return {};
  const name = (choice.function as JsonObject).name;
  const tools = (body.tools as Json[]).filter(
    (tool) => ((tool as JsonObject).function as JsonObject).name === name,
  );
  return { tool_choice: 'required', tools };
}

/**
 * A last message by the assistant is continued. Without this pair of fields, llama.cpp would also send that message
 * back.
 */
export function continuationFields(body: JsonObject): JsonObject {
  const last = (body.messages as JsonObject[]).at(-1);
  if (last?.role !== 'assistant' || last.tool_calls !== undefined) return {};
  return { continue_final_message: true, add_generation_prompt: false };
}
