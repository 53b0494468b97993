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
  const ids = await idsOf(reply.pieces, worker, signal);
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

/** Some vocabularies put a space before each text. Behind a newline there is none, and nothing merges with it. */
const LEADS = ['', '\n'] as const;

/** The ids of the tokens that the pieces came from; undefined if no ids spell them. */
export async function idsOf(
  pieces: readonly string[],
  worker: Worker,
  signal: AbortSignal,
): Promise<number[] | undefined> {
  for (const lead of LEADS) {
    const texts = lead === '' ? pieces : [lead, ...pieces.map((piece) => lead + piece)];
    const ids = spelling(await tokenize(worker, texts, signal), pieces, lead);
    if (ids) return ids;
  }
  return undefined;
}

/** Texts are tokenised separately: a token's text yields that token again, which the joined text may not. */
async function tokenize(worker: Worker, texts: readonly string[], signal: AbortSignal): Promise<Token[]> {
  const body = { content: [...texts], parse_special: false, with_pieces: true };
  const reply = (await worker.fetch('POST', '/tokenize', body, signal)) as { tokens: Token[] };
  return reply.tokens;
}

/** The ids of the pieces, each of which follows the lead; undefined if the tokens do not spell them. */
function spelling(tokens: readonly Token[], pieces: readonly string[], lead: string): number[] | undefined {
  const all = tokens.map(({ id, piece }) => ({ id, bytes: Buffer.from(piece as string) }));
  const before = lead === '' ? 0 : all.findIndex(({ bytes }) => bytes.equals(Buffer.from(lead))) + 1;
  const ids: number[] = [];
  let at = before;
  for (const piece of pieces) {
    if (all.slice(0, before).some(({ id }, i) => all[at + i]?.id !== id)) return undefined;
    at += before;
    for (let left = Buffer.from(piece); left.length > 0; at += 1) {
      const { id, bytes } = all[at] ?? NO_TOKEN;
      if (bytes.length === 0 || !left.subarray(0, bytes.length).equals(bytes)) return undefined;
      ids.push(id);
      left = left.subarray(bytes.length);
    }
  }
  return at === all.length ? ids : undefined;
}

const NO_TOKEN = { id: -1, bytes: Buffer.alloc(0) };

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
