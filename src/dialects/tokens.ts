import { z } from 'zod';
import { compact } from '../compact.js';
import type { Dialect } from './shared/dialect.js';
import { modelName, text } from './shared/fields.js';
import { tokenIds } from './shared/token-ids.js';
import { optional, validate } from './shared/validate.js';

/** llama.cpp takes quadratic time for a text of control tokens, some seconds for this many characters. */
const MAX_TEXT = 65_536;

const flag = optional(z.boolean());

const textSchema = z.object({
  model: modelName,
  content: text.max(MAX_TEXT),
  add_special: flag,
  parse_special: flag,
  with_pieces: flag,
});

/** `POST /tokenize`, as llama.cpp has it. */
export const tokenize: Dialect = {
  description: {
    summary: 'The tokens of a text',
    body: textSchema,
    example: { content: 'a famous dish' },
    replies: ['application/json'],
  },
  parse(body) {
    const { model, content, ...flags } = validate(textSchema, body);
    const options = {
      addSpecial: flags.add_special ?? false,
      parseSpecial: flags.parse_special ?? true,
      withPieces: flags.with_pieces ?? false,
    };
    return {
      ask: { about: 'text', ...compact({ model }), text: content, ...options },
      answer: (tokens) => ({ tokens }),
    };
  },
};

const idsSchema = z.object({ model: modelName, tokens: tokenIds });

/** `POST /detokenize`, as llama.cpp has it. */
export const detokenize: Dialect = {
  description: {
    summary: 'The text of tokens',
    body: idsSchema,
    example: { tokens: [100, 200] },
    replies: ['application/json'],
  },
  parse(body) {
    const { model, tokens } = validate(idsSchema, body);
    return { ask: { about: 'tokens', ...compact({ model }), tokens }, answer: (content) => ({ content }) };
  },
};
