import { z } from 'zod';
import { checkShape, MAX_DEPTH } from '../../wire/json-shape.js';
import { text } from '../shared/fields.js';
import { boundedSchema, toolsProblem } from '../shared/schema-size.js';
import { list, optional } from '../shared/validate.js';

/** OpenAI's chat messages and tools, reduced to allowed fields. */

/** The worker's chat template takes time with the square of the number of messages and cannot be interrupted. */
const MAX_MESSAGES = 2_048;

/** Max tools in a request, and max calls in a message. */
const MAX_TOOLS = 128;

/** Only inline data is accepted: the worker would fetch any other URL from inside the network. */
const imageUrl = z.object({
  url: text.startsWith('data:image/', 'must be a data: URL of an image; other URLs are not fetched'),
});

const part = z.discriminatedUnion('type', [
  z.object({ type: z.literal('text'), text }),
  z.object({ type: z.literal('image_url'), image_url: imageUrl }),
]);

const textParts = list(z.object({ type: z.literal('text'), text }));
const textContent = z.union([text, textParts]);

/** Chat templates parse arguments. Some models send an empty string for no arguments. */
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
    tool_calls: optional(list(toolCall, { max: MAX_TOOLS })),
  })
  .refine((message) => message.content !== undefined || message.tool_calls !== undefined, {
    message: 'is required for an assistant message without tool_calls',
    path: ['content'],
  })
  .transform(({ content, ...rest }) => ({ ...rest, content: content ?? null }));

const message = z.discriminatedUnion('role', [
  z.object({ role: z.literal('system'), content: textContent }),
  // OpenAI's newer name for `system`, which chat templates do not know.
  z
    .object({ role: z.literal('developer'), content: textContent })
    .transform((m) => ({ ...m, role: 'system' })),
  z.object({ role: z.literal('user'), content: z.union([text, list(part)]) }),
  assistant,
  z.object({ role: z.literal('tool'), content: textContent, tool_call_id: optional(text) }),
]);

export const messages = list(message, { max: MAX_MESSAGES });

function isShallowJson(json: string): boolean {
  try {
    checkShape(json, true);
    JSON.parse(json);
    return true;
  } catch {
    return false;
  }
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

export const tools = list(tool, { min: 0, max: MAX_TOOLS }).superRefine((all, context) => {
  const problem = toolsProblem(all.map((one) => one.function.parameters ?? {}));
  if (problem !== undefined) context.addIssue(`together: ${problem}`);
});

export const toolChoice = z.union([
  z.enum(['none', 'auto', 'required']),
  z.object({ type: z.literal('function'), function: z.object({ name: functionName }) }),
]);
