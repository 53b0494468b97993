import { z } from 'zod';
import type { Json } from '../../contract.js';
import { text } from '../fields.js';
import { boundedSchema, countNodes, MAX_TOOL_NODES } from '../schema-size.js';
import { optional } from '../validate.js';

/** OpenAI's chat messages and tools, reduced to what is allow-listed. */

/** A URL would make the worker fetch it, from inside the network: only data given in place is taken. */
const imageUrl = z.object({
  url: z.string().startsWith('data:image/', 'must be a data: URL of an image; other URLs are not fetched'),
});

const part = z.discriminatedUnion('type', [
  z.object({ type: z.literal('text'), text }),
  z.object({ type: z.literal('image_url'), image_url: imageUrl }),
]);

const textParts = z.array(z.object({ type: z.literal('text'), text })).min(1);
const textContent = z.union([text, textParts]);

const toolCall = z.object({
  id: text,
  type: z.literal('function'),
  function: z.object({ name: text.min(1), arguments: text }),
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

export const messages = z.array(message).min(1);

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
