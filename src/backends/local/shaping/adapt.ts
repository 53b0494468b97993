import { createHash } from 'node:crypto';
import type { Adaptation, Json, JsonObject } from '../../../contract.js';
import { isObject, jsonOrText } from '../../../wire/json-shape.js';
import type { TemplateFacts } from './facts.js';
import { callText, resultText, toolsText } from './tool-text.js';

export interface Adapted {
  readonly body: JsonObject;
  readonly kinds: readonly Adaptation[];
}

type Message = JsonObject & { role: string };

interface Call {
  readonly id?: string;
  readonly function: { readonly name: string; readonly arguments: string };
}

/** The user's turn before a conversation that the assistant begins, where the template wants the user to begin. */
const OPENING = '…';

const BLANK_LINE = '\n\n';

/**
 * Fits the conversation of a chat request to what the model's template accepts, without losing a word that the template
 * would show. Pure.
 */
export function adapt(body: JsonObject, facts: TemplateFacts): Adapted {
  const kinds = new Set<Adaptation>();
  let messages = body.messages as Message[];
  const step = (kind: Adaptation, accepted: boolean, change: (messages: Message[]) => Message[]) => {
    const next = accepted ? messages : change(messages);
    if (next !== messages) kinds.add(kind);
    messages = next;
  };
  const calling = messages.some(isToolTurn);
  if (calling) {
    messages = linkResults(messages);
    step('tool_turns', facts.resultWithoutCall, looseResultsAsText);
    step('tool_turns', facts.toolTurns, toolTurnsAsText);
    step('call_arguments', facts.plainArguments, wrapArguments);
    step('call_arguments', facts.nestedArguments, nestedAsText);
    step('parallel_calls', facts.parallelCalls, splitCalls);
    step('call_ids', facts.longCallIds, shortenIds);
    // Templates that accept a call as the first turn may still lose it, or the system message, for lack of a user's turn.
    step('opening_turn', false, (all) => openWithUser(all, (first) => callsOf(first).length > 0));
  }
  step('reasoning', facts.textBesideReasoning, dropReasoning);
  step('text_parts', facts.textParts, joinTextParts);
  const tools = body.tools as JsonObject[] | undefined;
  step('tool_definitions', facts.tools || tools === undefined, (all) => describeTools(all, tools!, facts));
  step(
    'system_message',
    facts.laterSystem && facts.repeatedSystem && facts.systemAlone && facts.system,
    (all) => placeSystemText(all, facts),
  );
  step('merged_turns', facts.repeatedUser, (all) => mergeTurns(all, 'user'));
  step('merged_turns', facts.repeatedAssistant, (all) => mergeTurns(all, 'assistant'));
  if (messages.some(isToolTurn)) {
    const free = facts.repeatedAssistant;
    step('turn_order', free, (all) => alternate(all, facts));
    step('turn_order', !free || facts.userAfterResult, foldIntoResults);
    step('turn_order', !free || facts.textBesideCalls, separateTexts);
  }
  step('opening_turn', facts.assistantFirst, (all) => openWithUser(all, ({ role }) => role !== 'user'));
  step('system_message', facts.lastingSystem, systemToLastUser);
  if (messages === body.messages) return { body, kinds: [] };
  const { tools: _, tool_choice: __, parallel_tool_calls: ___, ...others } = body;
  const native = facts.tools || facts.toolTurns;
  return { body: { ...(native ? body : others), messages }, kinds: [...kinds] };
}

function isToolTurn({ role, tool_calls: calls }: Message): boolean {
  return role === 'tool' || (Array.isArray(calls) && calls.length > 0);
}

const callsOf = (message: Message): Call[] => (message.tool_calls ?? []) as unknown as Call[];

const withCalls = (message: Message, calls: readonly Call[]): Message => ({
  ...message,
  tool_calls: calls as unknown as Json[],
});

/** Gives each result the id and name of its call, found by id or, without one, as the first that has no result yet. */
function linkResults(messages: Message[]): Message[] {
  let open: Call[] = [];
  return messages.map((message) => {
    if (callsOf(message).length > 0) open = [...callsOf(message)];
    if (message.role !== 'tool') return message;
    const at = open.findIndex(({ id }) => message.tool_call_id === undefined || id === message.tool_call_id);
    const [call] = at === -1 ? [] : open.splice(at, 1);
    return call ? { ...message, tool_call_id: call.id ?? '', name: call.function.name } : message;
  });
}

/** Results that have no name could not be linked to a call. */
function looseResultsAsText(messages: Message[]): Message[] {
  return changed(messages, (message) =>
    message.role === 'tool' && message.name === undefined ? resultAsUser(message) : message,
  );
}

function toolTurnsAsText(messages: Message[]): Message[] {
  return changed(messages, (message) => {
    if (message.role === 'tool') return resultAsUser(message);
    return isToolTurn(message) ? callsAsText(message) : message;
  });
}

const resultAsUser = (message: Message): Message => ({ role: 'user', content: resultText(message) });

function callsAsText(message: Message): Message {
  const { tool_calls: _, content, ...others } = message;
  const text = callsOf(message).map((call) => callText(call.function));
  return { ...others, content: joinContent(content, text.join('\n')) };
}

/** Arguments that are not an object become the only field of one. */
const wrapArguments = (messages: Message[]): Message[] =>
  changeArguments(messages, (value) => (isObject(value) ? value : { arguments: value }));

/** Objects and lists among the arguments become their JSON text. */
const nestedAsText = (messages: Message[]): Message[] =>
  changeArguments(messages, (value) => {
    if (!isObject(value) || !Object.values(value).some(isNested)) return value;
    const entries = Object.entries(value);
    return Object.fromEntries<Json>(
      entries.map(([name, part]) => [name, isNested(part) ? JSON.stringify(part) : part]),
    );
  });

const isNested = (value: unknown): boolean => typeof value === 'object' && value !== null;

function changeArguments(messages: Message[], change: (value: Json) => Json): Message[] {
  return changed(messages, (message) => {
    const calls = callsOf(message);
    const next = calls.map((call) => {
      const value = jsonOrText(call.function.arguments) as Json;
      const fitted = change(value);
      if (fitted === value) return call;
      return { ...call, function: { ...call.function, arguments: JSON.stringify(fitted) } };
    });
    return next.every((call, at) => call === calls[at]) ? message : withCalls(message, next);
  });
}

/** Call, result, call, result: one call in each turn. */
function splitCalls(messages: Message[]): Message[] {
  if (!messages.some((message) => callsOf(message).length > 1)) return messages;
  const split: Message[] = [];
  for (let at = 0; at < messages.length; at += 1) {
    const message = messages[at]!;
    const calls = callsOf(message);
    if (calls.length < 2) {
      split.push(message);
      continue;
    }
    const results: Message[] = [];
    while (messages[at + 1]?.role === 'tool') results.push(messages[(at += 1)]!);
    for (const [number, call] of calls.entries()) {
      const turn: Message = number === 0 ? message : { role: 'assistant', content: null };
      split.push(withCalls(turn, [call]), ...results.filter((result) => result.tool_call_id === call.id));
    }
    const ids = new Set<Json | undefined>(calls.map(({ id }) => id));
    split.push(...results.filter((result) => !ids.has(result.tool_call_id)));
  }
  return split;
}

/** The ids that the strictest templates take. */
const SHORT_ID = /^[a-zA-Z0-9]{9}$/;

/** An id depends on nothing but the old one, so that the conversation's next request has the same beginning. */
function shortenIds(messages: Message[]): Message[] {
  const shorten = (id: Json | undefined) =>
    typeof id === 'string' && SHORT_ID.test(id)
      ? id
      : createHash('sha256')
          .update(JSON.stringify(id ?? null))
          .digest('hex')
          .slice(0, 9);
  return changed(messages, (message) => {
    if (message.role === 'tool') {
      const id = shorten(message.tool_call_id);
      return id === message.tool_call_id ? message : { ...message, tool_call_id: id };
    }
    const calls = callsOf(message);
    if (calls.every(({ id }) => id === shorten(id))) return message;
    return withCalls(
      message,
      calls.map((call) => ({ ...call, id: shorten(call.id) })),
    );
  });
}

/** The template shows a turn's reasoning or its text, not both: the text is what was said. */
function dropReasoning(messages: Message[]): Message[] {
  return changed(messages, (message) => {
    if (message.reasoning_content === undefined || isEmpty(message.content)) return message;
    const { reasoning_content: _, ...others } = message;
    return others;
  });
}

function joinTextParts(messages: Message[]): Message[] {
  return changed(messages, (message) => {
    if (!Array.isArray(message.content)) return message;
    const joined = joinTexts(message.content as JsonObject[]);
    return joined.length === message.content.length ? message : { ...message, content: joined };
  });
}

/** The tools as text of the system. Whether a model that has a form for calls of its own needs none of ours. */
function describeTools(messages: Message[], tools: readonly JsonObject[], facts: TemplateFacts): Message[] {
  const text = toolsText(tools, !facts.toolTurns);
  const [first, ...others] = messages;
  if (first?.role !== 'system') return [{ role: 'system', content: text }, ...messages];
  return [{ ...first, content: joinContent(first.content, text) }, ...others];
}

/** Puts system messages where the template takes them; elsewhere they become text of the user's next turn. */
function placeSystemText(messages: Message[], facts: TemplateFacts): Message[] {
  if (!messages.some(({ role }) => role === 'system')) return messages;
  const [leading, others] = splitSystem(messages);
  const merged = facts.repeatedSystem ? leading : mergeTurns(leading, 'system');
  const keeps = facts.system && (facts.systemAlone || others.length > 0);
  const placed = facts.laterSystem ? others : systemAsUser(others);
  if (keeps) return merged === leading && placed === others ? messages : [...merged, ...placed];
  return systemAsUser([...mergeTurns(leading, 'system'), ...placed]);
}

/**
 * Puts the system message into the user's last turn. There the templates show it that drop it when other turns follow; for
 * them the prompt of a conversation that ends with the user is the same as before.
 */
function systemToLastUser(messages: Message[]): Message[] {
  const [leading, others] = splitSystem(messages);
  const at = others.findLastIndex(({ role }) => role === 'user');
  if (leading.length === 0) return messages;
  if (at === -1) return systemAsUser(messages);
  const text = leading.reduce<Json>((before, { content }) => joinContent(before, content), null);
  return others.with(at, { ...others[at]!, content: joinContent(text, others[at]!.content) });
}

function systemAsUser(messages: Message[]): Message[] {
  if (!messages.some(({ role }) => role === 'system')) return messages;
  const placed: Message[] = [];
  let held: Json = null;
  for (const message of messages) {
    const { role, content } = message;
    if (role === 'system') held = joinContent(held, content);
    else if (role === 'user' || isEmpty(held))
      placed.push({ ...message, content: joinContent(held, content) });
    else placed.push({ role: 'user', content: held }, message);
    if (role !== 'system') held = null;
  }
  if (!isEmpty(held)) placed.push({ role: 'user', content: held });
  return placed;
}

/** Turns of a role in a row become one. */
function mergeTurns(messages: Message[], role: string): Message[] {
  const merged: Message[] = [];
  for (const message of messages) {
    const before = merged.at(-1);
    if (message.role === role && before?.role === role && !isToolTurn(before) && !isToolTurn(message))
      merged[merged.length - 1] = joinTurns(before, message);
    else merged.push(message);
  }
  return merged.length === messages.length ? messages : merged;
}

function joinTurns(a: Message, b: Message): Message {
  const joined: Message = { ...a, ...b, content: joinContent(a.content, b.content) };
  if (a.reasoning_content !== undefined && b.reasoning_content !== undefined)
    joined.reasoning_content = joinContent(a.reasoning_content, b.reasoning_content);
  return joined;
}

/**
 * For templates that want the user and the assistant to take turns, not counting calls and results: between two turns of
 * the user all of the assistant's texts become one. If there is none, the user's turn is added to the result before it.
 */
function alternate(messages: Message[], facts: TemplateFacts): Message[] {
  const lifts = (message: Message) =>
    message.role === 'assistant' &&
    (!isToolTurn(message) || (!facts.textBesideCalls && !isEmpty(message.content)));
  const turns: Message[] = [];
  let between: Message[] = [];
  for (const message of messages) {
    const last = between.at(-1);
    if (message.role !== 'user') between.push(message);
    else if (last?.role === 'tool' && !between.some(lifts))
      between[between.length - 1] = { ...last, content: joinContent(last.content, message.content) };
    else {
      if (last !== undefined && !between.some(lifts) && isToolTurn(last))
        between[between.length - 1] = callsAsText(last);
      turns.push(...oneText(between, lifts), message);
      between = [];
    }
  }
  turns.push(...oneText(between, lifts));
  return turns.length === messages.length && turns.every((turn, at) => turn === messages[at])
    ? messages
    : turns;
}

/** Makes one turn of the assistant's texts: the last turn if that is a text, else the first. */
function oneText(turns: Message[], lifts: (message: Message) => boolean): Message[] {
  const texts = turns.filter(lifts);
  const last = turns.at(-1);
  if (texts.length === 0 || (texts.length === 1 && !isToolTurn(texts[0]!))) return turns;
  const text = texts.map(({ tool_calls: _, ...message }) => message as Message).reduce(joinTurns);
  const others = turns.filter((turn) => !lifts(turn) || isToolTurn(turn));
  const silent = others.map((turn) => (lifts(turn) ? { ...turn, content: null } : turn));
  if (last !== undefined && lifts(last) && !isToolTurn(last)) return [...silent, text];
  const systems = silent.filter(({ role }) => role === 'system');
  return [...systems, text, ...silent.slice(systems.length)];
}

/** A turn of the user after a result is added to the result. */
function foldIntoResults(messages: Message[]): Message[] {
  const folded: Message[] = [];
  for (const message of messages) {
    const before = folded.at(-1);
    if (message.role === 'user' && before?.role === 'tool')
      folded[folded.length - 1] = { ...before, content: joinContent(before.content, message.content) };
    else folded.push(message);
  }
  return folded.length === messages.length ? messages : folded;
}

/** The text beside calls becomes a turn before them. */
function separateTexts(messages: Message[]): Message[] {
  const besides = (message: Message) => callsOf(message).length > 0 && !isEmpty(message.content);
  if (!messages.some(besides)) return messages;
  return messages.flatMap((message) => {
    if (!besides(message)) return [message];
    const { tool_calls: _, ...text } = message;
    return [text, { ...message, content: null }];
  });
}

/** Puts a turn of the user before the first turn if that is one that needs it. */
function openWithUser(messages: Message[], needsOpening: (first: Message) => boolean): Message[] {
  const [leading, [first, ...others]] = splitSystem(messages);
  if (first === undefined || !needsOpening(first)) return messages;
  return [...leading, { role: 'user', content: OPENING }, first, ...others];
}

/** The system messages at the beginning, and all other turns. */
function splitSystem(messages: Message[]): [leading: Message[], others: Message[]] {
  const at = messages.findIndex(({ role }) => role !== 'system');
  const count = at === -1 ? messages.length : at;
  return [messages.slice(0, count), messages.slice(count)];
}

/** Maps the messages; returns the same list if none changed. */
function changed(messages: Message[], change: (message: Message) => Message): Message[] {
  const next = messages.map(change);
  return next.every((message, at) => message === messages[at]) ? messages : next;
}

/** Joins two contents with a blank line; parts, such as images, stay parts. */
function joinContent(a: Json | undefined, b: Json | undefined): Json {
  if (isEmpty(a)) return b ?? null;
  if (isEmpty(b)) return a ?? null;
  if (typeof a === 'string' && typeof b === 'string') return a + BLANK_LINE + b;
  return joinTexts([...toParts(a), ...toParts(b)]);
}

/** Texts that follow one another become one: templates join them in different ways, some without a space. */
function joinTexts(parts: readonly JsonObject[]): JsonObject[] {
  const joined: JsonObject[] = [];
  for (const part of parts) {
    const last = joined.at(-1);
    if (typeof last?.text === 'string' && typeof part.text === 'string')
      joined[joined.length - 1] = { ...last, text: joinContent(last.text, part.text) };
    else joined.push(part);
  }
  return joined;
}

const isEmpty = (content: Json | undefined): boolean =>
  content === undefined ||
  content === null ||
  content === '' ||
  (Array.isArray(content) && content.length === 0);

const toParts = (content: Json | undefined): JsonObject[] =>
  Array.isArray(content) ? (content as JsonObject[]) : [{ type: 'text', text: content as string }];
