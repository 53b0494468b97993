import { z } from 'zod';
import type { GenerateKind, Json, JsonObject } from '../../contract.js';
import { LMServError } from '../../errors.js';
import { checkShape } from '../../wire/json-shape.js';
import { text } from './fields.js';
import { isSmallGrammar } from './grammar-size.js';
import { workerSchema } from './schema-flaw.js';
import { filled, list, optional } from './validate.js';

const unsupported = filled(z.undefined('is not supported; use response_format, json_schema or grammar'));

// The worker compiles the grammar before the first token and cannot be interrupted.
const grammar = text.max(65_536).refine(isSmallGrammar, 'has too many groups or repetitions');

/** Some clients send the schema as JSON text. */
const schema = z.unknown().optional().transform(parseSchema).pipe(workerSchema.optional());

const choice = list(text.min(1), { max: 2_000 }).transform(choiceGrammar).pipe(grammar);

const responseFormat = z.discriminatedUnion('type', [
  z.object({ type: z.literal('text') }),
  z.object({
    type: z.literal('json_object'),
    schema: optional(workerSchema),
    json_schema: filled(z.undefined('requires the type json_schema')),
    value: filled(z.undefined('is not supported; use schema')),
  }),
  z.object({
    type: z.literal('json_schema'),
    json_schema: z.object({ name: filled(text), strict: optional(z.boolean()), schema: workerSchema }),
  }),
]);

/**
 * The fields that constrain the form of a reply, under the names that OpenAI, llama.cpp, vLLM and others use. Clients
 * rely on them, so each is applied or refused, never ignored.
 */
export const constraints = {
  response_format: filled(responseFormat),
  json_schema: schema,
  guided_json: schema,
  guided_choice: filled(choice),
  guided_grammar: filled(grammar),
  grammar: filled(grammar),
  structured_outputs: filled(
    z.object({
      json: schema,
      json_object: optional(z.boolean()),
      choice: filled(choice),
      grammar: filled(grammar),
      regex: unsupported,
      structural_tag: unsupported,
    }),
  ),
  guided_regex: unsupported,
  regex: unsupported,
  regex_pattern: unsupported,
  ebnf: unsupported,
  grammar_string: unsupported,
  structural_tag: unsupported,
  format: unsupported,
};

type Name = keyof typeof constraints;
type Fields = { readonly [K in Name]?: z.output<(typeof constraints)[K]> };

/** The form of a reply: OpenAI's `response_format`, or the text of a grammar. */
type Form = JsonObject | string;

/** The one constraint of a request. */
export interface Constraint {
  /** The field in which the client sent it. */
  readonly field: string;
  /** The field for the backends: `response_format` (chat), `json_schema` (raw) or `grammar`. */
  readonly body: JsonObject;
}

/**
 * Finds the constraint among a request's fields; undefined if it has none.
 *
 * @throws LMServError `invalid_value` naming a field that contradicts another one.
 */
export function constraintOf(fields: Fields, kind: GenerateKind): Constraint | undefined {
  const { response_format: format, structured_outputs: outputs } = fields;
  const given: [string, Form | undefined][] = [
    ['response_format', format?.type === 'text' ? undefined : (format as JsonObject | undefined)],
    ['structured_outputs', outputs?.json_object === true ? { type: 'json_object' } : undefined],
    ['json_schema', schemaFormat(fields.json_schema)],
    ['guided_json', schemaFormat(fields.guided_json)],
    ['structured_outputs', schemaFormat(outputs?.json)],
    ['structured_outputs', outputs?.choice],
    ['structured_outputs', outputs?.grammar],
    ['guided_choice', fields.guided_choice],
    ['guided_grammar', fields.guided_grammar],
    ['grammar', fields.grammar],
  ];
  const found = given.filter((entry): entry is [string, Form] => entry[1] !== undefined);
  // "Any JSON object" and a schema do not contradict each other.
  const strict = found.some(([, form]) => typeof form === 'object' && !isAnyObject(form))
    ? found.filter(([, form]) => !isAnyObject(form))
    : found;
  const [first, second] = strict;
  if (second) throw conflict(second[0], first![0]);
  return first && { field: first[0], body: bodyOf(first[1], kind) };
}

/** Removes the fields that constrain the form. */
export function withoutConstraints<T extends object>(fields: T): Omit<T, Name> {
  return Object.fromEntries(Object.entries(fields).filter(([name]) => !(name in constraints))) as never;
}

/** The error for two fields that cannot be combined. */
export function conflict(field: string, other: string): LMServError {
  return new LMServError('invalid_value', `${field}: cannot be combined with ${other}`, { param: field });
}

function bodyOf(form: Form, kind: GenerateKind): JsonObject {
  if (typeof form === 'string') return { grammar: form };
  if (kind === 'chat') return { response_format: form };
  const { schema: own = { type: 'object' }, json_schema: named } = form;
  return { json_schema: (named as JsonObject | undefined)?.schema ?? own };
}

function schemaFormat(clientSchema: JsonObject | undefined): Form | undefined {
  return clientSchema && { type: 'json_schema', json_schema: { schema: clientSchema } };
}

function isAnyObject(form: Form): boolean {
  return typeof form === 'object' && form.type === 'json_object' && form.schema === undefined;
}

function parseSchema(value: unknown): unknown {
  if (value === null || value === '') return undefined;
  if (typeof value !== 'string') return value;
  try {
    checkShape(value);
    return JSON.parse(value) as Json;
  } catch {
    return value;
  }
}

/** A grammar (GBNF) for one of these texts. */
function choiceGrammar(texts: readonly string[]): string {
  const quote = (one: string) => `"${one.replace(/["\\\x00-\x1f\x7f]/g, escapeCharacter)}"`;
  return `root ::= ${texts.map(quote).join(' | ')}`;
}

function escapeCharacter(character: string): string {
  return `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`;
}
