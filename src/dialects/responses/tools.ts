import { z } from 'zod';
import { compact } from '../../compact.js';
import { LMServError } from '../../errors.js';
import { functionName, MAX_TOOLS, toolFunction, type ToolChoice } from '../openai/tools.js';
import { text } from '../shared/fields.js';
import { toolsProblem } from '../shared/schema-size.js';
import { filled, list, optional } from '../shared/validate.js';
import { unsupportedType } from './unsupported.js';

/** The tools of a request: functions, alone or in namespaces. What OpenAI's own servers would run is refused by name. */

const FUNCTIONS_ONLY =
  'tools are functions, which the client runs; leave it out or turn it off in the client';

const functionTool = toolFunction.safeExtend({
  type: z.literal('function'),
  strict: optional(z.boolean()),
});

const namespace = z.object({
  type: z.literal('namespace'),
  name: functionName,
  description: optional(text),
  tools: list(
    z.discriminatedUnion('type', [functionTool], { error: unsupportedType('a tool', FUNCTIONS_ONLY) }),
    { max: MAX_TOOLS },
  ),
});

type FunctionTool = z.output<typeof functionTool>;

export const tools = list(
  z.discriminatedUnion('type', [functionTool, namespace], {
    error: unsupportedType('a tool', FUNCTIONS_ONLY),
  }),
  { max: MAX_TOOLS },
).superRefine((all, context) => {
  const functions = named(all);
  if (functions.length > MAX_TOOLS) context.addIssue(`must have at most ${MAX_TOOLS} functions`);
  const names = new Set(functions.map(({ name }) => name));
  if (names.size < functions.length) context.addIssue('have the same name twice');
  const problem = toolsProblem(functions.map(({ tool }) => tool.parameters ?? {}));
  if (problem !== undefined) context.addIssue(`together: ${problem}`);
});

type Tools = z.output<typeof tools>;

const functionChoice = z.object({
  type: z.literal('function'),
  name: functionName,
  namespace: filled(functionName),
});

const CHOICES = 'name a function, or allowed_tools with functions';

export const toolChoice = z.union([
  z.enum(['none', 'auto', 'required']),
  z.discriminatedUnion(
    'type',
    [
      functionChoice,
      z.object({
        type: z.literal('allowed_tools'),
        mode: z.enum(['auto', 'required']),
        tools: list(
          z.discriminatedUnion('type', [functionChoice], { error: unsupportedType('a tool', CHOICES) }),
          { max: MAX_TOOLS },
        ),
      }),
    ],
    { error: unsupportedType('none, auto, required or an object', CHOICES) },
  ),
]);

type GivenChoice = z.output<typeof toolChoice>;

/** What a function is called in a chat, where there are no namespaces. */
export function fullName(name: string, namespace: string | undefined): string {
  return namespace === undefined ? name : `${namespace}__${name}`;
}

/** The tools of a request: as the chat has them, and back. */
export interface ChatTools {
  readonly tools: { type: 'function'; function: Omit<FunctionTool, 'type' | 'strict'> }[] | undefined;
  readonly choice: ToolChoice | undefined;
  /** The name and namespace of a function that the model calls. */
  readonly nameOf: (fullName: string) => { readonly name: string; readonly namespace?: string };
}

/** @throws LMServError `invalid_value` for a list of allowed tools with an unknown one. */
export function toChatTools(all: Tools | undefined, choice: GivenChoice | undefined): ChatTools {
  const functions = named(all ?? []);
  const names = new Map(functions.map(({ name, tool, namespace }) => [name, { name: tool.name, namespace }]));
  const allowed = allowedNames(choice, names);
  const tools = functions
    .filter(({ name }) => allowed?.has(name) ?? true)
    .map(({ name, tool: { description, parameters } }) => {
      return { type: 'function' as const, function: { name, description, parameters } };
    });
  return {
    tools: tools.length > 0 ? tools : undefined,
    choice: chatChoice(choice),
    nameOf: (name) => compact(names.get(name) ?? { name }),
  };
}

/** A function under its full name. */
interface Named {
  readonly name: string;
  readonly namespace: string | undefined;
  readonly tool: FunctionTool;
}

function named(all: Tools): Named[] {
  const one = (tool: FunctionTool, namespace?: string): Named => {
    return { name: fullName(tool.name, namespace), namespace, tool };
  };
  return all.flatMap((tool) =>
    tool.type === 'namespace' ? tool.tools.map((inner) => one(inner, tool.name)) : [one(tool)],
  );
}

function allowedNames(
  choice: GivenChoice | undefined,
  known: ReadonlyMap<string, unknown>,
): ReadonlySet<string> | undefined {
  if (typeof choice !== 'object' || choice.type !== 'allowed_tools') return undefined;
  const names = choice.tools.map(({ name, namespace }) => fullName(name, namespace));
  if (names.every((name) => known.has(name))) return new Set(names);
  const message = 'tool_choice.tools: names a function that is not in tools';
  throw new LMServError('invalid_value', message, { param: 'tool_choice.tools' });
}

function chatChoice(choice: GivenChoice | undefined): ChatTools['choice'] {
  if (choice === undefined) return undefined;
  if (typeof choice !== 'object') return { mode: choice };
  if (choice.type === 'allowed_tools') return { mode: choice.mode };
  return { mode: 'required', names: [fullName(choice.name, choice.namespace)] };
}
