import { z } from 'zod';
import { isObject } from '../../wire/json-shape.js';
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

const tool = z
  .unknown()
  .transform(nest)
  .pipe(
    z.object({
      type: filled(z.literal('function', 'must be function')).transform((type) => type ?? 'function'),
      function: toolFunction,
    }),
  );

/** Other APIs have the fields of a function beside its type; Anthropic's calls its parameters `input_schema`. */
function nest(given: unknown): unknown {
  if (!isObject(given) || given.function !== undefined || given.name === undefined) return given;
  const { type, name, description, parameters, input_schema } = given;
  return { type, function: { name, description, parameters: parameters ?? input_schema } };
}

export const tools = list(tool, { max: MAX_TOOLS }).superRefine((all, context) => {
  const problem = toolsProblem(all.map((one) => one.function.parameters ?? {}));
  if (problem !== undefined) context.addIssue(`together: ${problem}`);
});

/** Which tools the model may or must call. */
export interface ToolChoice {
  readonly mode: 'none' | 'auto' | 'required';
  /** If it is not all of them. */
  readonly names?: readonly string[];
}

/** Mistral and Anthropic say `any`. */
const MODES = ['none', 'auto', 'required', 'any'] as const;

const choose = (mode: (typeof MODES)[number]): ToolChoice => ({ mode: mode === 'any' ? 'required' : mode });

/** OpenAI's two APIs name a function in different places. */
const functionNamed = z.union([
  z.object({ function: z.object({ name: functionName }) }).transform((given) => given.function.name),
  z.object({ name: functionName }).transform((given) => given.name),
]);

const allowed = z
  .object({ mode: z.enum(['auto', 'required']), tools: list(functionNamed, { max: MAX_TOOLS }) })
  .transform(({ mode, tools: names }): ToolChoice => ({ mode, names }));

const typed = z.discriminatedUnion(
  'type',
  [
    z.object({ type: z.literal(MODES) }).transform(({ type }) => choose(type)),
    z
      .looseObject({ type: z.literal(['function', 'tool']) })
      .transform((given): unknown => given)
      .pipe(functionNamed)
      .transform((name): ToolChoice => ({ mode: 'required', names: [name] })),
    z
      .looseObject({ type: z.literal('allowed_tools') })
      .transform((given): unknown => given)
      .pipe(
        z.union([allowed, z.object({ allowed_tools: allowed }).transform((given) => given.allowed_tools)]),
      ),
  ],
  `must be ${MODES.join(', ')}, function, tool or allowed_tools`,
);

/** Clients write it in the words of several APIs; it is taken where only one meaning is possible. */
export const toolChoice = z.union(
  [z.enum(MODES).transform(choose), typed],
  `must be ${MODES.join(', ')}, or an object with one of these types, function or allowed_tools`,
);
