import { z } from 'zod';
import type { JsonObject } from '../../contract.js';
import { compact } from '../../compact.js';
import { optional } from '../shared/validate.js';

/**
 * Thinking is the model's reasoning. Clients return its blocks as they got them, with a signature that is theirs to keep
 * but not to read. Where a client does not want to see the text, the signature carries it.
 */

const SIGNATURE = 'lmserv';
const CARRIER = `${SIGNATURE}:`;

/** The signature of a block; `omitted`: with its text. */
export function signatureOf(thinking: string, omitted: boolean): string {
  return omitted ? CARRIER + Buffer.from(thinking).toString('base64') : SIGNATURE;
}

/** The text of a block that a client returns. */
export function thinkingOf(text: string, signature: unknown): string {
  if (text !== '' || typeof signature !== 'string' || !signature.startsWith(CARRIER)) return text;
  return Buffer.from(signature.slice(CARRIER.length), 'base64').toString();
}

const display = optional(z.enum(['summarized', 'omitted']));

export const thinking = z.discriminatedUnion('type', [
  z.object({ type: z.literal('enabled'), budget_tokens: optional(z.int().min(1)), display }),
  z.object({ type: z.literal('disabled') }),
  z.object({ type: z.literal(['adaptive', 'between_tools']), display }),
]);

/** Efforts that not every model knows become the highest that all do. */
const EFFORTS = { low: 'low', medium: 'medium', high: 'high', xhigh: 'high', max: 'high' } as const;

export const effort = optional(z.enum(['low', 'medium', 'high', 'xhigh', 'max'])).transform(
  (word) => word && EFFORTS[word],
);

/** The fields for the backends. Without a wish of the client the model decides whether it thinks. */
export function thinkingFields(wish: z.output<typeof thinking> | undefined): JsonObject {
  if (wish?.type === 'disabled') return { chat_template_kwargs: { enable_thinking: false } };
  if (wish?.type !== 'enabled') return {};
  return compact({
    chat_template_kwargs: { enable_thinking: true },
    thinking_budget_tokens: wish.budget_tokens,
  });
}
