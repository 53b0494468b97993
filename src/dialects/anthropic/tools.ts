import { z } from 'zod';
import type { JsonObject } from '../../contract.js';
import { LMServError } from '../../errors.js';
import { compact } from '../../compact.js';
import { text } from '../shared/fields.js';
import { anySchema, workerProblem } from '../shared/schema-flaw.js';
import { toolsProblem } from '../shared/schema-size.js';
import { filled, list, optional } from '../shared/validate.js';

/** Anthropic's tools. */

const MAX_TOOLS = 512;

const name = z.string().regex(/^[\w.-]{1,128}$/, 'must be 1 to 128 letters, digits, _, . or -');

const type = filled(
  z.literal('custom', {
    error: ({ input }) =>
      `${JSON.stringify(input)} is a tool of Anthropic's; only custom tools can be used here`,
  }),
);

const tool = z
  .object({
    type,
    name,
    description: optional(text),
    input_schema: filled(anySchema),
    defer_loading: optional(z.boolean()),
  })
  .superRefine((one, context) => {
    const problem = one.input_schema && workerProblem(one.input_schema);
    const message = `the schema of ${one.name} ${problem}`;
    if (problem !== undefined) context.addIssue({ code: 'custom', path: ['input_schema'], message });
  });

export const tools = list(tool, { max: MAX_TOOLS }).superRefine((all, context) => {
  const problem = toolsProblem(all.map((one) => one.input_schema ?? {}));
  if (problem !== undefined) context.addIssue(`together: ${problem}`);
});

const disable_parallel_tool_use = optional(z.boolean());

export const toolChoice = z.discriminatedUnion('type', [
  z.object({ type: z.literal(['auto', 'any']), disable_parallel_tool_use }),
  z.object({ type: z.literal('tool'), name, disable_parallel_tool_use }),
  z.object({ type: z.literal('none') }),
]);

type Tool = z.output<typeof tool>;
type Choice = z.output<typeof toolChoice>;

/** What a conversation says about the tools that its request defines. */
export interface ToolChanges {
  /** Tools that it refers to or calls, in order. */
  readonly loaded: readonly string[];
  readonly removed: ReadonlySet<string>;
}

/**
 * The tools that the model sees, in OpenAI's form. One that is loaded later comes after those that were there before,
 * wherever the client inserts it, so that the prompt keeps its beginning.
 */
function offered(all: readonly Tool[], { loaded, removed }: ToolChanges): JsonObject[] {
  const deferred = new Map(all.filter((one) => one.defer_loading).map((one) => [one.name, one]));
  const late = [...new Set(loaded)].flatMap((called) => deferred.get(called) ?? []);
  return [...all.filter((one) => !one.defer_loading), ...late]
    .filter((one) => !removed.has(one.name))
    .map(({ name: called, description, input_schema: parameters }) => ({
      type: 'function',
      function: compact({ name: called, description, parameters }),
    }));
}

/** The fields for the backends. @throws LMServError `invalid_value` for a choice that the tools cannot satisfy. */
export function toolFields(
  all: readonly Tool[] = [],
  choice: Choice | undefined,
  { loaded, removed }: ToolChanges,
): JsonObject {
  const chosen = choice?.type === 'tool' ? [choice.name] : [];
  const seen = offered(all, { loaded: [...loaded, ...chosen], removed });
  const names = seen.map((one) => (one.function as JsonObject).name);
  if (choice?.type === 'any' && seen.length === 0) throw unsatisfiable('any without any tools');
  if (choice?.type === 'tool' && !names.includes(choice.name))
    throw unsatisfiable('names a tool that is not in tools');
  if (seen.length === 0) return {};
  const parallel =
    choice && 'disable_parallel_tool_use' in choice ? choice.disable_parallel_tool_use : undefined;
  return compact({
    tools: seen,
    tool_choice: choice && openAiChoice(choice),
    parallel_tool_calls: parallel === true ? false : undefined,
  });
}

function openAiChoice(choice: Choice) {
  if (choice.type === 'tool') return { type: 'function', function: { name: choice.name } };
  return choice.type === 'any' ? 'required' : choice.type;
}

function unsatisfiable(message: string): LMServError {
  return new LMServError('invalid_value', `tool_choice: ${message}`, { param: 'tool_choice' });
}
