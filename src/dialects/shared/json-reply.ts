import type { Choice } from './collect.js';
import { LMServError } from '../../errors.js';

/**
 * The JSON that a model answered; white space and a Markdown fence around it are allowed, as llama.cpp's grammar
 * allows them.
 *
 * @throws LMServError `invalid_response`, which says so when the reply was cut at `max_tokens`.
 */
export function jsonReply({ text, finishReason }: Choice): unknown {
  try {
    return JSON.parse(unfence(text.trim()));
  } catch {
    const cut = finishReason === 'length' ? '; it was cut at max_tokens' : '';
    throw new LMServError('invalid_response', `The model's answer is not valid JSON${cut}`);
  }
}

function unfence(text: string): string {
  if (!text.startsWith('```') || !text.endsWith('```')) return text;
  const firstLine = text.indexOf('\n');
  return firstLine < 0 ? text : text.slice(firstLine + 1, -3);
}
