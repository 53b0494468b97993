import type { Json, JsonObject } from '../../contract.js';
import { LMServError } from '../../errors.js';
import { ChildRefusal } from '../../../workers/child-http.js';

/** Posts a JSON body to a llama.cpp child and returns its JSON reply. */
export type Post = (path: string, body: JsonObject) => Promise<unknown>;

/**
 * Characters tokenised at once. Nearly every request fits, and a text of nothing but control tokens, on which llama.cpp
 * takes quadratic time, is detected in its first batch.
 */
const BATCH = 65_536;

/** Longer than the name of any control token. Characters. */
const OVERLAP = 256;

/**
 * Refuses a request that would put control tokens of the model, such as those that end a turn, into the prompt as text.
 * The model's own vocabulary decides: a text contains some if tokenising it with and without them gives different results.
 *
 * @param param the field that the text comes from, for the error.
 * @throws LMServError `special_token`, `invalid_value` for token ids that the model does not have, or what `post` throws.
 */
export async function refuseSpecialTokens(
  body: JsonObject,
  post: Post,
  param = body.prompt === undefined ? 'messages' : 'prompt',
): Promise<void> {
  const { prompt } = body;
  const texts = Array.isArray(prompt) ? [await detokenize(prompt, post, param)] : promptTexts(body);
  for (const batch of batches(texts)) {
    if (!(await holdsSpecial(batch, post))) continue;
    throw new LMServError('special_token', undefined, { param });
  }
}

async function holdsSpecial(texts: string[], post: Post): Promise<boolean> {
  // Texts are tokenised separately, so that no token forms across the border of two texts.
  const tokenize = async (special: boolean): Promise<number[]> => {
    const asked = { content: texts, add_special: false, parse_special: special };
    return ((await post('/tokenize', asked)) as { tokens: number[] }).tokens;
  };
  const [plain, special] = await Promise.all([tokenize(false), tokenize(true)]);
  return plain.length !== special.length || plain.some((token, i) => token !== special[i]);
}

/** Batches of texts; long texts are split into overlapping pieces, so that a token on a border is not missed. */
function* batches(texts: readonly string[]): Generator<string[]> {
  let batch: string[] = [];
  let length = 0;
  for (const piece of texts.flatMap(pieces)) {
    if (length + piece.length > BATCH && batch.length > 0) {
      yield batch;
      [batch, length] = [[], 0];
    }
    batch.push(piece);
    length += piece.length;
  }
  yield batch;
}

function pieces(text: string): string[] {
  const found: string[] = [];
  for (let start = 0; start === 0 || start + OVERLAP < text.length; start += BATCH - OVERLAP)
    found.push(text.slice(start, start + BATCH).toWellFormed());
  return found;
}

/** Every text of a request that the model may read, which excludes stop strings and grammars. */
export function promptTexts({ prompt, suffix, messages, tools, response_format }: JsonObject): string[] {
  const turns = (messages ?? []) as JsonObject[];
  const texts = [...[prompt, suffix, tools, response_format].flatMap(strings), ...turns.flatMap(turnTexts)];
  return [...new Set(texts)].filter((text) => text !== '');
}

/** Arguments and results of tool calls are often JSON, which templates insert either unchanged or decoded. */
function turnTexts({ role, content, ...others }: JsonObject): string[] {
  const texts = [joined(content), ...strings(others)];
  return role === 'tool' || role === 'assistant' ? [...texts, ...texts.map(unescaped)] : texts;
}

/** Some templates join the parts of a message, so a token may be split across them. */
function joined(content: Json | undefined): string {
  if (!Array.isArray(content)) return typeof content === 'string' ? content : '';
  return content.map((part) => (part as { text?: string }).text ?? '').join('');
}

/** All texts in a value, including field names. */
function strings(value: Json | undefined): string[] {
  if (typeof value === 'string') return [value];
  if (value === null || typeof value !== 'object') return [];
  const names = Array.isArray(value) ? [] : Object.keys(value);
  return [...names, ...Object.values(value).flatMap(strings)];
}

/** A JSON text with its escapes undone: `<\/s>` and `\u003c/s>` are both `</s>` once decoded. */
function unescaped(text: string): string {
  const plain = text.replace(/\\(?:u([0-9a-f]{4})|(.))/gi, (_, unit: string | undefined, other: string) =>
    unit === undefined ? other : String.fromCharCode(parseInt(unit, 16)),
  );
  // Half a surrogate pair is not valid JSON.
  return plain.toWellFormed();
}

/** The text of token ids, control tokens by name. */
async function detokenize(tokens: Json[], post: Post, param: string): Promise<string> {
  try {
    return ((await post('/detokenize', { tokens })) as { content: string }).content;
  } catch (error) {
    if (!(error instanceof ChildRefusal)) throw error;
    const message = `${param}: contains token ids outside the model's vocabulary`;
    throw new LMServError('invalid_value', message, { param });
  }
}
