import { z } from 'zod';
import { text } from '../shared/fields.js';
import { anySchema, workerProblem } from '../shared/schema-flaw.js';
import { toolsProblem } from '../shared/schema-size.js';
import { filled, list, optional } from '../shared/validate.js';

/** OpenAI's tools, reduced to allowed fields. */

export const MAX_TOOLS = 128;

export const functionName = z.string().regex(/^[\w.-]{1,64}$/, 'must be 1 to 64 letters, digits, _, . or -');

export const toolFunction = z
  .object({ name: functionName, description: optional(text), parameters: filled(anySchema) })
  .superRefine(({ name, parameters }, context) => {
    const problem = parameters && workerProblem(parameters);
    const message = `the schema of ${name} ${problem}`;
    if (problem !== undefined) context.addIssue({ code: 'custom', path: ['parameters'], message });
  });

const tool = z.object({
  type: filled(z.literal('function')).transform((type) => type ?? 'function'),
  function: toolFunction,
});

export const tools = list(tool, { max: MAX_TOOLS }).superRefine((all, context) => {
  const problem = toolsProblem(all.map((one) => one.function.parameters ?? {}));
  if (problem !== undefined) context.addIssue(`together: ${problem}`);
});

export const toolChoice = z.union([
  z.enum(['none', 'auto', 'required']),
  z.object({ type: z.literal('function'), function: z.object({ name: functionName }) }),
]);
