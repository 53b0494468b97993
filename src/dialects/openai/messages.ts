import { z } from 'zod';
import type { Json } from '../../contract.js';
import { text } from '../fields.js';
import { boundedSchema, countNodes, MAX_TOOL_NODES } from '../schema-size.js';
import { optional } from '../validate.js';

/** OpenAI's chat messages and tools, reduced to what is allow-listed. */

/** Messages in one request: a worker's template takes the square of their number, and cannot be stopped meanwhile. */
const MAX_MESSAGES = 2_048;

/** Nesting of a call's arguments; a worker reads them by recursion, and 100,000 end it. */
const MAX_DEPTH = 100;

/** A URL would make the worker fetch it, from inside the network: only data given in place is taken. */
const imageUrl = z.object({
  url: text.startsWith('data:image/', 'must be a data: URL of an image; other URLs are not fetched'),
});

const part = z.discriminatedUnion('type', [
  z.object({ type: z.literal('text'), text }),
  z.object({ type: z.literal('image_url'), image_url: imageUrl }),
]);

const textParts = z.array(z.object({ type: z.literal('text'), text })).min(1);
const textContent = z.union([text, textParts]);

/** Templates write what arguments mean, not their text. None at all is how some models call a function without any. */
const callArguments = text
  .transform((json) => (json.trim() === '' ? '{}' : json))
  .refine(isShallowJson, `must be JSON, nested at most ${MAX_DEPTH} deep`);

const toolCall = z.object({
  id: text,
  type: z.literal('function'),
  function: z.object({ name: text.min(1), arguments: callArguments }),
});

const assistant = z
  .object({
    role: z.literal('assistant'),
    content: optional(textContent),
    reasoning_content: optional(text),
    tool_calls: optional(z.array(toolCall).min(1)),
  })
  .refine((message) => message.content !== undefined || message.tool_calls !== undefined, {
    message: 'is required for an assistant message without tool_calls',
    path: ['content'],
  })
  .transform(({ content, ...rest }) => ({ ...rest, content: content ?? null }));

const message = z.discriminatedUnion('role', [
  z.object({ role: z.literal('system'), content: textContent }),
  // OpenAI's newer name of the same turn, which templates do not know.
  z
    .object({ role: z.literal('developer'), content: textContent })
    .transform((m) => ({ ...m, role: 'system' })),
  z.object({ role: z.literal('user'), content: z.union([text, z.array(part).min(1)]) }),
  assistant,
  z.object({ role: z.literal('tool'), content: textContent, tool_call_id: optional(text) }),
]);

export const messages = z.array(message).min(1).max(MAX_MESSAGES);

function isShallowJson(json: string): boolean {
  try {
    return isShallow(JSON.parse(json), MAX_DEPTH);
  } catch {
    return false;
  }
}

function isShallow(value: unknown, levels: number): boolean {
  if (value === null || typeof value !== 'object') return true;
  return levels > 0 && Object.values(value).every((part) => isShallow(part, levels - 1));
}

const functionName = z.string().regex(/^[\w.-]{1,64}$/, 'must be 1 to 64 letters, digits, _, . or -');

const tool = z.object({
  type: z.literal('function'),
  function: z.object({
    name: functionName,
    description: optional(text),
    parameters: optional(boundedSchema),
  }),
});

export const tools = z
  .array(tool)
  .max(128)
  .refine(
    (list) => countNodes(list as Json) <= MAX_TOOL_NODES,
    `have more than ${MAX_TOOL_NODES} parts together`,
  );

export const toolChoice = z.union([
  z.enum(['none', 'auto', 'required']),
  z.object({ type: z.literal('function'), function: z.object({ name: functionName }) }),
]);
