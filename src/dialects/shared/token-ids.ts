import { z } from 'zod';

/** A worker's token ids have 32 bits; larger ones would wrap around. */
const MAX_TOKEN_ID = 2_147_483_647;

/** Checked in one loop, because a text may have as many ids as the context has tokens. */
export const tokenIds = z.custom<number[]>(Array.isArray).superRefine((ids, context) => {
  const invalid = ids.findIndex((id) => !Number.isInteger(id) || id < 0 || id > MAX_TOKEN_ID);
  if (invalid >= 0) context.addIssue({ code: 'custom', path: [invalid], message: 'must be a token id' });
  else if (ids.length === 0) context.addIssue('must not be empty');
});
