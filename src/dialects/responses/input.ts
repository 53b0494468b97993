import { z } from 'zod';
import type { JsonObject } from '../../contract.js';
import { isObject } from '../../wire/json-shape.js';
import {
  callFunction,
  callId,
  MAX_MESSAGES,
  message,
  type Message,
  pairCalls,
  repaired,
  resultContent,
  thoughts,
} from '../openai/messages.js';
import { text } from '../shared/fields.js';
import { taking } from '../shared/input-schema.js';
import { filled, list } from '../shared/validate.js';
import { fullName } from './tools.js';
import { unsupportedType } from './unsupported.js';

/** The items of a request's input, which become the messages of a chat. */

const said = taking(
  z
    .looseObject({
      type: z.literal('message'),
      role: z.enum(['user', 'assistant', 'system', 'developer']),
    })
    .transform((value): unknown => value)
    .pipe(message)
    .transform((turn) => ({ type: 'message' as const, turn: { ...turn, content: plain(turn.content) } })),
  (of) => of(message),
);

const call = callFunction
  .extend({ type: z.literal('function_call'), call_id: callId, namespace: filled(repaired) })
  .transform(({ type, call_id: id, namespace, name, arguments: given }) => {
    return {
      type,
      call: {
        id,
        type: 'function' as const,
        function: { name: fullName(name, namespace), arguments: given },
      },
    };
  });

const result = z
  .object({ type: z.literal('function_call_output'), call_id: callId, output: resultContent })
  .transform(({ call_id: id, output }) => ({
    type: 'message' as const,
    turn: { role: 'tool' as const, content: plain(output), tool_call_id: id },
  }));

/** The reasoning of an earlier reply, in the form it was sent in. What is encrypted was encrypted by another server. */
const reasoned = z
  .looseObject({ type: z.literal('reasoning') })
  .transform(thoughts)
  .pipe(repaired)
  .transform((thought) => ({ type: 'reasoning' as const, thought }));

const NOT_STORED = 'replies are not stored; send the whole conversation as input (store: false)';

const item = z
  .unknown()
  // OpenAI's short form of a message has no type.
  .transform((value) =>
    isObject(value) && value.role !== undefined ? { ...value, type: value.type ?? 'message' } : value,
  )
  .pipe(
    z.discriminatedUnion('type', [said, call, result, reasoned], {
      error: (issue) =>
        isObject(issue.input) && issue.input.type === 'item_reference'
          ? NOT_STORED
          : unsupportedType('an item', 'send messages, function calls, their outputs and reasoning')(issue),
    }),
  );

type Item = z.output<typeof item>;

/** OpenAI's `input`: a text is what the user says. */
export const input = taking(
  z
    .unknown()
    .transform((value) => (typeof value === 'string' ? [{ role: 'user', content: value }] : value))
    .pipe(list(item, { max: MAX_MESSAGES })),
  (of) => ({
    anyOf: [{ type: 'string' }, { type: 'array', items: of(item), maxItems: MAX_MESSAGES }],
  }),
);

export const instructions = filled(text);

/**
 * Builds the messages of the chat. The parts of one earlier reply become one turn, as chat templates expect; reasoning
 * that nothing follows in its reply has no place in a chat.
 */
export function toMessages(items: readonly Item[], system: string | undefined): JsonObject[] {
  const turns: Turn[] = system === undefined ? [] : [{ role: 'system', content: system }];
  let thought = '';
  for (const one of items) {
    if (one.type === 'reasoning') thought += one.thought;
    else {
      add(turns, one, thought);
      thought = '';
    }
  }
  return pairCalls(turns as Message[]);
}

interface Turn {
  readonly role: string;
  readonly content: unknown;
  tool_calls?: unknown[];
}

/** Adds an item that is not reasoning; `thought` is the reasoning before it. */
function add(turns: Turn[], one: Exclude<Item, { type: 'reasoning' }>, thought: string): void {
  const last = turns.at(-1);
  if (one.type === 'function_call') {
    if (last?.role === 'assistant' && thought === '')
      last.tool_calls = [...(last.tool_calls ?? []), one.call];
    else turns.push(thinking({ role: 'assistant', content: null, tool_calls: [one.call] }, thought));
  } else turns.push(one.turn.role === 'assistant' ? thinking(one.turn, thought) : one.turn);
}

function thinking(turn: Turn, thought: string): Turn {
  return thought === '' ? turn : { ...turn, ...{ reasoning_content: thought } };
}

/** A text that is the only part is the content, because not every server takes a list of parts in every turn. */
function plain<T>(content: T): T | string {
  if (!Array.isArray(content) || content.length !== 1) return content;
  const [part] = content as [JsonObject];
  return part.type === 'text' ? (part.text as string) : content;
}
