import type { GenerateRequest, JsonObject } from '../../contract.js';
import type { Worker } from '../../../workers/worker.js';
import { continuationFields } from './child-request.js';

/** Fields of a chat request that its template reads. */
const READ_BY_TEMPLATE = [
  'messages',
  'tools',
  'parallel_tool_calls',
  'chat_template_kwargs',
  'reasoning_effort',
] as const;

/** Fields of a chat request that a raw one does not have, or has in another form. */
const OF_CHATS = new Set<string>([
  ...READ_BY_TEMPLATE,
  'tool_choice',
  'response_format',
  'logprobs',
  'top_logprobs',
]);

/** A chat's prompt as the model would receive it. @throws as `Worker.fetch`. */
export async function renderPrompt(body: JsonObject, worker: Worker, signal: AbortSignal): Promise<string> {
  const asked: JsonObject = continuationFields(body);
  for (const field of READ_BY_TEMPLATE) if (body[field] !== undefined) asked[field] = body[field];
  return ((await worker.fetch('POST', '/apply-template', asked, signal)) as { prompt: string }).prompt;
}

/** The chat request as one for its rendered prompt, with other fields. */
export function rawRequest(request: GenerateRequest, fields: JsonObject): GenerateRequest {
  const { body } = request;
  const raw = Object.fromEntries(Object.entries(body).filter(([field]) => !OF_CHATS.has(field)));
  if (body.logprobs === true) raw.logprobs = body.top_logprobs ?? 0;
  return { ...request, kind: 'raw', body: { ...raw, ...fields } };
}
