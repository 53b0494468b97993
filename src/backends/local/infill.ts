import type { JsonObject } from '../../contract.js';
import { LMServError } from '../../errors.js';
import type { Worker } from '../../../workers/worker.js';

/** Control tokens before what comes before a gap, before what comes behind it, and before what fills it. */
const MARKS = [
  // Qwen, CodeGemma.
  ['<|fim_prefix|>', '<|fim_suffix|>', '<|fim_middle|>'],
  // StarCoder, Granite.
  ['<fim_prefix>', '<fim_suffix>', '<fim_middle>'],
  ['<fim-prefix>', '<fim-suffix>', '<fim-middle>'],
  // DeepSeek.
  ['<｜fim▁begin｜>', '<｜fim▁hole｜>', '<｜fim▁end｜>'],
  // GLM.
  ['<|code_prefix|>', '<|code_suffix|>', '<|code_middle|>'],
] as const;

/**
 * The body of a raw request with a gap in its text as one prompt. Not llama.cpp's own route, which drops what does not
 * fit into a batch.
 *
 * @throws LMServError `invalid_value` for a model without such tokens; as `Worker.fetch`.
 */
export async function asOnePrompt(
  body: JsonObject,
  worker: Worker,
  signal: AbortSignal,
): Promise<JsonObject> {
  const { prompt, suffix, ...others } = body;
  const asked = { content: MARKS.flat(), add_special: false, parse_special: true, with_pieces: true };
  const { tokens } = (await worker.fetch('POST', '/tokenize', asked, signal)) as Tokens;
  const known = new Set(tokens.map(({ piece }) => piece));
  const marks = MARKS.find((family) => family.every((mark) => known.has(mark)));
  if (!marks) {
    const message = 'suffix: this model has no tokens for filling a gap';
    throw new LMServError('invalid_value', message, { param: 'suffix' });
  }
  const [before, behind, middle] = marks;
  return { ...others, prompt: `${before}${prompt as string}${behind}${suffix as string}${middle}` };
}

interface Tokens {
  readonly tokens: readonly { readonly piece: unknown }[];
}
