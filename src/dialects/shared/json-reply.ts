import type { Choice } from './collect.js';
import { LMServError } from '../../errors.js';

/**
 * Parses the JSON in a model's reply. White space and a Markdown fence around it are allowed, because llama.cpp's
 * grammar allows them.
 *
 * @throws LMServError `invalid_response`; the message says if the reply was cut at `max_tokens`.
 */
export function jsonReply({ text, finishReason }: Choice): unknown {
  try {
    return JSON.parse(unfence(text.trim()));
  } catch {
    const cut = finishReason === 'length' ? '; it was cut at max_tokens, raise it' : '';
    throw new LMServError('invalid_response', `The model's reply is not valid JSON${cut}`);
  }
}

function unfence(text: string): string {
  if (!text.startsWith('```') || !text.endsWith('```')) return text;
  const firstLine = text.indexOf('\n');
  return firstLine < 0 ? text : text.slice(firstLine + 1, -3);
}
