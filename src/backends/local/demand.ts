import type { JsonObject } from '../../contract.js';
import { isObject } from '../../wire/json-shape.js';
import type { HandlerFacts } from './shaping/facts.js';

/**
 * How a chat request is put to the worker. `chat`: its template's handler does everything. The others go round the
 * handler, with the rendered prompt: `form` forces the form of the whole reply, `call` a call of a tool, `text` takes
 * the reply unread.
 */
export type Form = 'chat' | 'form' | 'call' | 'text';

/** What a reply must be, by the request's fields. Undefined if it may be anything. */
export type Demand =
  | {
      readonly kind: 'form';
      /** The field of a raw request that enforces it. */
      readonly field: { readonly json_schema: JsonObject } | { readonly grammar: string };
      /** The model may call a tool instead. */
      readonly mayCall: boolean;
    }
  | { readonly kind: 'call'; readonly tools: readonly ToolFunction[] };

export interface ToolFunction {
  readonly name: string;
  readonly parameters?: JsonObject;
}

export function demandOf(body: JsonObject): Demand | undefined {
  const { tools, tool_choice: choice, response_format: format, grammar } = body;
  const functions = ((tools ?? []) as JsonObject[]).map((tool) => tool.function as unknown as ToolFunction);
  if (functions.length > 0 && choice === 'required') return { kind: 'call', tools: functions };
  if (isObject(choice)) {
    const { name } = choice.function as JsonObject;
    return { kind: 'call', tools: functions.filter((tool) => tool.name === name) };
  }
  if (typeof grammar === 'string') return { kind: 'form', field: { grammar }, mayCall: false };
  if (!isObject(format)) return undefined;
  const wrapper = format.type === 'json_schema' ? (format.json_schema as JsonObject) : format;
  const json_schema = (wrapper.schema as JsonObject | undefined) ?? { type: 'object' };
  return { kind: 'form', field: { json_schema }, mayCall: functions.length > 0 && choice !== 'none' };
}

/** The form for a request whose template has a handler with these facts. */
export function formFor(demand: Demand, handler: HandlerFacts): Form {
  if (demand.kind === 'call') return handler.calls ? 'chat' : 'call';
  const enforced = 'grammar' in demand.field ? handler.grammar : handler.schema;
  return enforced || demand.mayCall ? 'chat' : 'form';
}

/** Why a reply is not what the request demands. */
export const UNMET = {
  form: 'The reply does not have the form that the request asks for',
  call: 'The model did not call a tool, which tool_choice asks for',
  image: 'This model cannot give a reply in that form about an image',
} as const;
