import type { GenerateRequest, JsonObject } from '../../contract.js';
import { ChildRefusal } from '../../../workers/child-http.js';
import type { Worker } from '../../../workers/worker.js';
import { toChildRequest } from './child-request.js';
import { templateSentence } from './shaping/template-error.js';
import type { Template } from './shaping/template.js';

/**
 * Counts the tokens of a chat's prompt on a worker, in the same form as it would be generated from.
 *
 * @param template adapts the conversation; undefined if it is taken as it is.
 * @throws ChildRefusal, WorkerFailure, or the signal's reason.
 */
export async function countTokens(
  request: GenerateRequest,
  worker: Worker,
  template: Template | undefined,
  signal: AbortSignal,
): Promise<number> {
  const count = async (body: JsonObject): Promise<number> => {
    const child = toChildRequest({ ...request, body });
    const reply = await worker.fetch('POST', `${child.path}/input_tokens`, child.body, signal);
    return (reply as { input_tokens: number }).input_tokens;
  };
  const fitted = template ? await template.fit(request) : request;
  try {
    return await count(fitted.body);
  } catch (error) {
    const refused = error instanceof ChildRefusal && templateSentence(error.message) !== undefined;
    const flat = refused ? template?.flatten(request.body) : undefined;
    if (!flat) throw error;
    return count(flat.body);
  }
}
