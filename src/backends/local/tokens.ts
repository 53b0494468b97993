import type { GenerateRequest, Json, JsonObject, TokenQuestion } from '../../contract.js';
import { LMServError } from '../../errors.js';
import { ChildRefusal } from '../../../workers/child-http.js';
import type { Worker } from '../../../workers/worker.js';
import { toChildRequest } from './child-request.js';
import { templateSentence } from './shaping/template-error.js';
import type { Template } from './shaping/template.js';

/**
 * Answers a question about tokens on a worker.
 *
 * @param template adapts the conversation of a prompt; undefined if it is taken as it is.
 * @throws LMServError `invalid_value` for ids that the model does not have; ChildRefusal, WorkerFailure, or the signal's
 *   reason.
 */
export async function answerTokens(
  question: TokenQuestion,
  worker: Worker,
  template: Template | undefined,
  signal: AbortSignal,
): Promise<Json> {
  const post = async (path: string, body: JsonObject) =>
    (await worker.fetch('POST', path, body, signal)) as JsonObject;
  if (question.about === 'prompt') return countPrompt(question.request, post, template);
  if (question.about === 'text') {
    const { text: content, addSpecial, parseSpecial, withPieces } = question;
    const options = { add_special: addSpecial, parse_special: parseSpecial, with_pieces: withPieces };
    return (await post('/tokenize', { content, ...options })).tokens!;
  }
  try {
    return (await post('/detokenize', { tokens: [...question.tokens] })).content!;
  } catch (error) {
    if (!(error instanceof ChildRefusal)) throw error;
    const message = "tokens: contains ids outside the model's vocabulary";
    throw new LMServError('invalid_value', message, { param: 'tokens' });
  }
}

type Post = (path: string, body: JsonObject) => Promise<JsonObject>;

/** Counts the tokens of a chat's prompt, in the same form as it would be generated from. */
async function countPrompt(
  request: GenerateRequest,
  post: Post,
  template: Template | undefined,
): Promise<number> {
  const count = async (body: JsonObject): Promise<number> => {
    const child = toChildRequest({ ...request, body });
    return (await post(`${child.path}/input_tokens`, child.body)).input_tokens as number;
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
