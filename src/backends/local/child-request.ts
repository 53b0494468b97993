import type { GenerateRequest, Json, JsonObject } from '../../contract.js';

/** Where and what to post to a llama.cpp child for a request. */
export interface ChildRequest {
  readonly path: '/v1/chat/completions' | '/v1/completions';
  readonly body: JsonObject;
}

/** Translates a request into the child's own terms, working around what llama.cpp reads differently from OpenAI. */
export function toChildRequest(request: GenerateRequest): ChildRequest {
  const common: JsonObject = { stream_options: { include_usage: true }, sse_ping_interval: -1 };
  if (request.kind === 'raw') return { path: '/v1/completions', body: { ...request.body, ...common } };
  return {
    path: '/v1/chat/completions',
    body: { ...request.body, ...namedTool(request.body), ...continuationFields(request.body), ...common },
  };
}

/** llama.cpp takes an object as tool_choice for `auto`: ask for `required` with that one tool instead. */
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
 * A last message of the assistant's is continued, and by this pair of fields without sending the given text back,
 * which llama.cpp does otherwise.
 */
export function continuationFields(body: JsonObject): JsonObject {
  const last = (body.messages as JsonObject[]).at(-1);
  if (last?.role !== 'assistant' || last.tool_calls !== undefined) return {};
  return { continue_final_message: true, add_generation_prompt: false };
}
