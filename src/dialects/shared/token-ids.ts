import { z } from 'zod';
import { taking } from './input-schema.js';

/** A worker's token ids have 32 bits; larger ones would wrap around. */
const MAX_TOKEN_ID = 2_147_483_647;

const numbers = taking(z.custom<number[]>(Array.isArray), () => ({
  type: 'array',
  items: { type: 'integer' },
}));

/** Checked in one loop, because a text may have as many ids as the context has tokens. */
export const tokenIds = numbers.superRefine((ids, context) => {
  const invalid = ids.findIndex((id) => !Number.isInteger(id) || id < 0 || id > MAX_TOKEN_ID);
  if (invalid >= 0) context.addIssue({ code: 'custom', path: [invalid], message: 'must be a token id' });
  else if (ids.length === 0) context.addIssue('must not be empty');
});
