import { z } from 'zod';
import type { JsonObject } from '../../contract.js';
import { compact } from '../../compact.js';
import { isObject } from '../../wire/json-shape.js';
import { callFunction, callId, MAX_MESSAGES, type Message, pairCalls, repaired } from '../openai/messages.js';
import { text } from '../shared/fields.js';
import { filled, list, optional } from '../shared/validate.js';

/**
 * Ollama's messages. As in OpenAI's dialect, what no person wrote is repaired where it cannot be tokenised, because such a
 * turn is sent again with every request.
 */

/** Max calls in a message. */
const MAX_CALLS = 128;

/** Whether all of it is base64, its decoder finds out: 20 MB are not read without need. */
const image = z
  .string()
  .refine(
    (data) => /^[A-Za-z0-9+/=\s]+$/.test(data.slice(0, 1_024)),
    'must be base64; files and URLs are not read',
  );

/** Base64 without a type; llama.cpp finds out itself. */
export const images = filled(list(image)).transform((all = []) => all.map((data) => imagePart(data)));

/** The conversation of a single question. */
export function question(prompt: string, pictures: z.output<typeof images>, system?: string): JsonObject[] {
  const asked = userTurn(prompt, pictures);
  return pairCalls(system === undefined ? [asked] : [{ role: 'system', content: system }, asked]);
}

/** A turn of the user. */
function userTurn(content: string, pictures: z.output<typeof images>): Message {
  if (pictures.length === 0) return { role: 'user', content };
  const words = content === '' ? [] : [{ type: 'text' as const, text: content }];
  return { role: 'user', content: [...words, ...pictures] };
}

function imagePart(wrapped: string) {
  // llama.cpp's decoder would end at the first line.
  const data = wrapped.includes('\n') ? wrapped.replace(/[\r\n]+/g, '') : wrapped;
  return { type: 'image_url' as const, image_url: { url: `data:image/png;base64,${data}` } };
}

/** Number of characters of the images that a message, or a question, holds beside its text. */
export function imagesIn(holder: unknown): number {
  const { images: all } = (holder ?? {}) as { images?: unknown };
  if (!Array.isArray(all)) return 0;
  return all.reduce<number>((sum, data) => sum + (typeof data === 'string' ? data.length : 0), 0);
}

const noImages = filled(z.undefined('only a turn of the user can have images'));

const content = optional(text).transform((words) => words ?? '');
const storedContent = optional(repaired).transform((words) => words ?? '');

const toolCall = z
  .object({ id: callId, function: callFunction })
  .transform(({ id, function: called }) => ({ id, type: 'function' as const, function: called }));

const assistant = z
  .object({
    role: z.literal('assistant'),
    content: storedContent,
    thinking: filled(repaired),
    tool_calls: filled(list(toolCall, { max: MAX_CALLS })),
    images: noImages,
  })
  .transform(({ role, content: words, thinking, tool_calls }): Message =>
    compact({
      role,
      content: tool_calls && words === '' ? null : words,
      reasoning_content: thinking,
      tool_calls,
    }),
  );

const tool = z
  .object({
    role: z.literal('tool'),
    content: storedContent,
    tool_call_id: callId,
    tool_name: filled(repaired),
    // The older name.
    name: filled(repaired),
    images: noImages,
  })
  .transform(({ role, content: words, tool_call_id, tool_name, name }): Message => {
    return compact({ role, content: words, tool_call_id, name: tool_name ?? name ?? '' });
  });

const turn = z
  .unknown()
  .transform(withSmallRole)
  .pipe(
    z.discriminatedUnion(
      'role',
      [
        z
          .object({ role: z.literal('system'), content, images: noImages })
          .transform(({ role, content: words }): Message => ({ role, content: words })),
        z
          .object({ role: z.literal('user'), content, images })
          .transform((given) => userTurn(given.content, given.images)),
        assistant,
        tool,
      ],
      { error: 'must be an object whose role is system, user, assistant or tool' },
    ),
  );

/** The conversation in OpenAI's form; without any turn it is empty. */
export const messages = filled(list(turn, { max: MAX_MESSAGES })).transform((turns = []) => pairCalls(turns));

/** Ollama takes roles in any case. */
function withSmallRole(given: unknown): unknown {
  return isObject(given) && typeof given.role === 'string'
    ? { ...given, role: given.role.toLowerCase() }
    : given;
}
