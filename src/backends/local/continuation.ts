import { ChildRefusal } from '../../../workers/child-http.js';
import type { Worker } from '../../../workers/worker.js';
import { toChildRequest, type ChildRequest } from './child-request.js';
import { rawRequest, renderPrompt } from './rendered.js';
import type { ReplySoFar } from './reply-so-far.js';

/**
 * Builds the request with which another worker resumes a reply. If the ids of the tokens passed on are known, the prompt
 * is the original one as text followed by those ids, so that the model sees exactly what it would have seen. Otherwise
 * the text so far becomes the assistant's turn, which may be tokenised differently.
 *
 * Corrects the reply's count of tokens.
 *
 * @throws WorkerFailure, or the signal's reason.
 */
export async function continuationOf(
  reply: ReplySoFar,
  worker: Worker,
  signal: AbortSignal,
): Promise<ChildRequest> {
  const tokens = await tokenize(worker, reply.pieces, signal);
  const ids = spells(tokens, reply.text) ? tokens.map(({ id }) => id) : undefined;
  if (ids) reply.recount(ids.length);
  else reply.estimate((await tokenize(worker, [reply.text], signal)).length);
  const prompt = ids && reply.isTextOnly ? await promptOf(reply, worker, signal) : undefined;
  if (ids === undefined || prompt === undefined) return toChildRequest(reply.next());
  return toChildRequest(rawRequest(reply.next(), { prompt: [prompt, ...ids] }));
}

/** A token with its bytes, as text if they are valid UTF-8. */
interface Token {
  readonly id: number;
  readonly piece: string | readonly number[];
}

/** Tokenises each piece separately: a token's text yields that token again, which the joined text may not. */
async function tokenize(worker: Worker, pieces: readonly string[], signal: AbortSignal): Promise<Token[]> {
  const body = { content: [...pieces], parse_special: false, with_pieces: true };
  const reply = (await worker.fetch('POST', '/tokenize', body, signal)) as { tokens: Token[] };
  return reply.tokens;
}

/** Whether the tokens reproduce the text; some vocabularies put a space before each text, which gives other ids. */
function spells(tokens: readonly Token[], text: string): boolean {
  const bytes = tokens.map(({ piece }) => Buffer.from(piece as string));
  return Buffer.concat(bytes).equals(Buffer.from(text));
}

/** The original prompt as the model received it; undefined if the worker cannot return it. */
async function promptOf(reply: ReplySoFar, worker: Worker, signal: AbortSignal): Promise<string | undefined> {
  const { kind, body } = reply.request;
  if (kind === 'raw') return body.prompt as string;
  try {
    return await renderPrompt(body, worker, signal);
  } catch (error) {
    if (error instanceof ChildRefusal) return undefined;
    throw error;
  }
}
