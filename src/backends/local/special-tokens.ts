import type { Json, JsonObject } from '../../contract.js';
import { LMServError } from '../../errors.js';
import { ChildRefusal } from '../../../workers/child-http.js';

/** Posts a JSON body to a llama.cpp child and gives its JSON reply. */
export type Post = (path: string, body: JsonObject) => Promise<unknown>;

/**
 * Characters that are tokenised at once: nearly every request in one go, and yet the first ones tell of a text of nothing
 * but control tokens, for which llama.cpp takes the square of their number.
 */
const BATCH = 65_536;

/** Longer than the name of any control token. Characters. */
const OVERLAP = 256;

/**
 * Refuses a request that would put control tokens of the model, such as those that end a turn, into the prompt as text.
 * The model's own vocabulary decides: a text holds some when it is tokenised otherwise with them than without.
 *
 * @throws LMServError `special_token`, `invalid_value` for token ids that the model does not have, or what `post` throws.
 */
export async function refuseSpecialTokens(body: JsonObject, post: Post): Promise<void> {
  const { prompt } = body;
  const texts = Array.isArray(prompt) ? [await detokenize(prompt, post)] : promptTexts(body);
  for (const batch of batches(texts)) {
    if (!(await holdsSpecial(batch, post))) continue;
    throw new LMServError('special_token', undefined, {
      param: prompt === undefined ? 'messages' : 'prompt',
    });
  }
}

async function holdsSpecial(texts: string[], post: Post): Promise<boolean> {
  // A list is tokenised text by text, so that nothing forms where two of them meet.
  const tokenize = async (special: boolean): Promise<number[]> => {
    const asked = { content: texts, add_special: false, parse_special: special };
    return ((await post('/tokenize', asked)) as { tokens: number[] }).tokens;
  };
  const [plain, special] = await Promise.all([tokenize(false), tokenize(true)]);
  return plain.length !== special.length || plain.some((token, i) => token !== special[i]);
}

/** Texts that are tokenised at once; a long one in pieces that overlap, so that no token is cut in two unseen. */
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

/** Every text of a request that the model may get to read. A stop string or a grammar is not among them. */
export function promptTexts({ prompt, messages, tools, response_format }: JsonObject): string[] {
  const turns = (messages ?? []) as JsonObject[];
  const texts = [...[prompt, tools, response_format].flatMap(strings), ...turns.flatMap(turnTexts)];
  return [...new Set(texts)].filter((text) => text !== '');
}

/** Arguments of calls, and what tools answered, are often JSON: templates write them as they are or what they mean. */
function turnTexts({ role, content, ...others }: JsonObject): string[] {
  const texts = [joined(content), ...strings(others)];
  return role === 'tool' || role === 'assistant' ? [...texts, ...texts.map(unescaped)] : texts;
}

/** Some templates put the parts of a message next to each other, and a token may be cut in two. */
function joined(content: Json | undefined): string {
  if (!Array.isArray(content)) return typeof content === 'string' ? content : '';
  return content.map((part) => (part as { text?: string }).text ?? '').join('');
}

/** All texts in a value, names of fields included. */
function strings(value: Json | undefined): string[] {
  if (typeof value === 'string') return [value];
  if (value === null || typeof value !== 'object') return [];
  const names = Array.isArray(value) ? [] : Object.keys(value);
  return [...names, ...Object.values(value).flatMap(strings)];
}

/** A JSON text with its escapes undone: `<\/s>` and `\u003c/s>` are both `</s>` once read. */
function unescaped(text: string): string {
  const plain = text.replace(/\\(?:u([0-9a-f]{4})|(.))/gi, (_, unit: string | undefined, other: string) =>
    unit === undefined ? other : String.fromCharCode(parseInt(unit, 16)),
  );
  // Half a surrogate pair would not pass as JSON.
  return plain.toWellFormed();
}

/** The text that token ids stand for, control tokens by their names. */
async function detokenize(tokens: Json[], post: Post): Promise<string> {
  try {
    return ((await post('/detokenize', { tokens })) as { content: string }).content;
  } catch (error) {
    if (!(error instanceof ChildRefusal)) throw error;
    const message = 'prompt: holds ids that are no tokens of the model';
    throw new LMServError('invalid_value', message, { param: 'prompt' });
  }
}
