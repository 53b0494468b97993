import { z } from 'zod';
import type { JsonObject } from '../../contract.js';
import { LMServError } from '../../errors.js';
import { BadReply } from '../../wire/bad-reply.js';
import { readContent } from '../../wire/content.js';
import { checkShape, isObject } from '../../wire/json-shape.js';
import { compact } from '../../compact.js';
import { text } from '../shared/fields.js';
import { imageUrl } from '../shared/images.js';
import { filled, list, optional } from '../shared/validate.js';

/**
 * OpenAI's chat messages, reduced to allowed fields. They are read as clients and agents store them, in the spellings of
 * several APIs: a turn that is refused would end its conversation for good, because it is sent again with every request.
 */

/** The worker's chat template takes time with the square of the number of messages and cannot be interrupted. */
export const MAX_MESSAGES = 2_048;

/** Max calls in a message. */
const MAX_CALLS = 128;

/**
 * The text of turns that no person wrote: what cannot be tokenised is replaced, because nobody could mend a tool's
 * output. In the other turns it is refused, while the client can still change what it is about to send.
 */
export const repaired = z.string().transform(repair);

type Words = z.ZodType<string, string>;

type Part =
  | { type: 'text'; text: string }
  | { type: 'image_url'; image_url: { url: string } }
  | { type: 'thinking'; text: string };

const partOf = (words: Words) =>
  z
    .unknown()
    .transform((value) => (typeof value === 'string' ? { type: 'text', text: value } : value))
    .pipe(
      z.discriminatedUnion('type', [
        z
          .object({ type: z.literal(['text', 'input_text', 'output_text']), text: optional(words) })
          .transform((part): Part => ({ type: 'text', text: part.text ?? '' })),
        z
          .object({ type: z.literal('refusal'), refusal: optional(words) })
          .transform((part): Part => ({ type: 'text', text: part.refusal ?? '' })),
        z
          .object({
            type: z.literal(['image_url', 'input_image']),
            image_url: z.union([imageUrl, z.object({ url: imageUrl })]),
          })
          .transform(({ image_url: image }): Part => {
            return { type: 'image_url', image_url: typeof image === 'string' ? { url: image } : image };
          }),
        z
          .looseObject({ type: z.literal(['thinking', 'reasoning', 'reasoning_text', 'redacted_thinking']) })
          .transform(thoughts)
          .pipe(words)
          .transform((thought): Part => ({ type: 'thinking', text: thought })),
      ]),
    );

const contentOf = (words: Words) =>
  optional(z.union([words, list(partOf(words), { min: 0 })])).transform((content) => content ?? '');

const content = contentOf(text);
const storedContent = contentOf(repaired);

/** The content of a tool's result. */
export const resultContent = storedContent.transform(withoutThinking);

/** Fields that some servers add to a message, in one form or another; anything but a text is left out. */
const extra = z
  .unknown()
  .optional()
  .transform((value) => (typeof value === 'string' ? repair(value) : ''));

export const callId = filled(z.union([z.string(), z.number()]).transform((id) => repair(String(id))));

export const callFunction = z.object({
  // A reply that was cut or put together wrongly may have lost it, and templates require one.
  name: filled(repaired).transform((name) => name ?? 'unknown'),
  arguments: z.unknown().optional().transform(toArguments),
});

const toolCall = z.object({ id: callId, type: filled(z.literal('function')), function: callFunction });

const assistant = z
  .object({
    role: z.literal('assistant'),
    content: storedContent,
    reasoning_content: extra,
    reasoning: extra,
    refusal: extra,
    tool_calls: filled(list(toolCall, { max: MAX_CALLS })),
    function_call: optional(callFunction),
  })
  .transform((message) => {
    const { content: parts, function_call: only, tool_calls: calls } = message;
    const thinking = typeof parts === 'string' ? '' : joined(parts.filter(isThinking));
    const said = typeof parts === 'string' ? parts : parts.filter((part) => !isThinking(part));
    const words = said.length > 0 ? said : message.refusal;
    const all = calls ?? (only && [{ id: undefined, function: only }]);
    return compact({
      role: 'assistant' as const,
      content: all && words === '' ? null : words,
      reasoning_content: message.reasoning_content || message.reasoning || thinking || undefined,
      tool_calls: all?.map(({ id, function: called }) => ({ id, type: 'function', function: called })),
    });
  });

export const message = z.discriminatedUnion('role', [
  // `developer` is OpenAI's newer name for `system`, which chat templates do not know.
  z.object({ role: z.literal(['system', 'developer']), content }).transform((turn) => {
    return { role: 'system' as const, content: withoutThinking(turn.content) };
  }),
  z.object({ role: z.literal('user'), content }).transform((turn) => {
    return { role: 'user' as const, content: withoutThinking(turn.content) };
  }),
  assistant,
  // `function` is OpenAI's older name for `tool`.
  z
    .object({
      role: z.literal(['tool', 'function']),
      content: resultContent,
      tool_call_id: callId,
      name: extra,
    })
    .transform((turn) => ({ ...turn, role: 'tool' as const })),
]);

export const messages = list(message, { max: MAX_MESSAGES }).transform(pairCalls);

export type Message = z.output<typeof message>;

/**
 * Gives an id to each call that has none, and to each result without one that of the call it answers: the first open one
 * of its name, or the first open one. The ids depend on the conversation alone, so that it stays in the prefix cache.
 */
export function pairCalls(turns: readonly Message[]): JsonObject[] {
  let made = 0;
  let open: { id: string; name: string }[] = [];
  return turns.map((turn) => {
    if (turn.role === 'tool') {
      const { tool_call_id: given, name, ...result } = turn;
      const named = open.find((call) => (given === undefined ? call.name === name : call.id === given));
      const answered = named ?? (given === undefined ? open[0] : undefined);
      open = open.filter((call) => call !== answered);
      return compact({ ...result, tool_call_id: given ?? answered?.id });
    }
    if (turn.role !== 'assistant' || !turn.tool_calls) return turn as JsonObject;
    // Nine letters and digits, as some templates demand.
    const newId = () => `call${String((made += 1)).padStart(5, '0')}`;
    const calls = turn.tool_calls.map((call) => ({ ...call, id: call.id ?? newId() }));
    open = calls.map((call) => ({ id: call.id, name: call.function.name }));
    return { ...turn, tool_calls: calls };
  });
}

/**
 * The arguments of a call as JSON text, which templates parse. A text that is not JSON, such as that of a call cut at
 * max_tokens, becomes a JSON string.
 */
export function toArguments(given: unknown, context: z.RefinementCtx): string {
  // PHP writes an empty object as an empty list.
  if (given === undefined || given === null || (Array.isArray(given) && given.length === 0)) return '{}';
  if (typeof given !== 'string') return JSON.stringify(repairAll(given));
  const json = repair(given);
  if (json.trim() === '') return '{}';
  try {
    checkShape(json, true);
    const parsed = JSON.parse(json) as unknown;
    return HALF_OR_NUL.test(json) ? JSON.stringify(repairAll(parsed)) : json;
  } catch (error) {
    if (!(error instanceof LMServError)) return JSON.stringify(json);
    context.addIssue(error.message.replace('The body', 'the JSON text'));
    return z.NEVER;
  }
}

/** An escape of NUL or of half a surrogate pair. */
const HALF_OR_NUL = /\\u(?:0000|d[89a-f])/i;

function repairAll(value: unknown): unknown {
  if (typeof value === 'string') return repair(value);
  if (Array.isArray(value)) return value.map(repairAll);
  if (!isObject(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [repair(name), repairAll(part)]));
}

function repair(words: string): string {
  return words.replaceAll('\0', '\ufffd').toWellFormed();
}

function isThinking(part: Part): boolean {
  return part.type === 'thinking';
}

function joined(parts: readonly Part[]): string {
  return parts.map((part) => ('text' in part ? part.text : '')).join('');
}

/** Only an assistant's turn has a place for reasoning; elsewhere it is text. */
function withoutThinking(parts: string | readonly Part[]) {
  if (typeof parts === 'string') return parts;
  const plain = parts.map((part) => (isThinking(part) ? { ...part, type: 'text' } : part));
  return plain.length > 0 ? plain : '';
}

/** The text of a part with reasoning; nothing where it has no form that is known. */
export function thoughts(part: Record<string, unknown>): string {
  try {
    const { text: words, reasoning } = readContent(part, 'reasoning');
    return words + reasoning;
  } catch (error) {
    if (!(error instanceof BadReply)) throw error;
    return '';
  }
}
