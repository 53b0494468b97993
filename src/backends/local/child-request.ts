import type { GenerateRequest, Json, JsonObject } from '../../contract.js';

/** The path and body to post to a llama.cpp child. */
export interface ChildRequest {
  readonly path: '/v1/chat/completions' | '/v1/completions';
  readonly body: JsonObject;
}

/** Translates a request for the child, working around differences between llama.cpp and OpenAI. */
export function toChildRequest(request: GenerateRequest): ChildRequest {
  const common: JsonObject = { stream_options: { include_usage: true }, sse_ping_interval: -1 };
  if (request.kind === 'raw') return { path: '/v1/completions', body: { ...request.body, ...common } };
  const body = withoutFormNextToTools(request.body);
  return {
    path: '/v1/chat/completions',
    body: { ...body, ...namedTool(body), ...continuationFields(body), ...stopFields(body), ...common },
  };
}

/** The last chunk repeats the prompt, and the reader of events takes at most a million characters. */
const MAX_REPEATED = 500_000;

/** llama.cpp names the stop string that ended a reply only among details for debugging. */
function stopFields(body: JsonObject): JsonObject {
  if (body.stop === undefined) return {};
  return JSON.stringify([body.messages, body.tools]).length < MAX_REPEATED ? { verbose: true } : {};
}

/** llama.cpp enforces a form from the first token, so that a model which may call a tool never could. */
function withoutFormNextToTools(body: JsonObject): JsonObject {
  if (body.tools === undefined || body.tool_choice === 'none') return body;
  const { response_format: _, ...others } = body;
  return others;
}

/** llama.cpp treats an object in tool_choice as `auto`, so this sends `required` with only that tool. */
function namedTool(body: JsonObject): JsonObject {
  const choice = body.tool_choice;
  if (choice === null || typeof choice !== 'object' || Array.isArray(choice)) return {};
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
