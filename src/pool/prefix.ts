import type { Json, JsonObject } from '../contract.js';
import { replaceImages } from '../wire/images.js';

/** Characters per block, about 32 tokens. A shorter common prefix is not worth choosing a worker for. */
export const BLOCK = 128;

/**
 * The beginning of a conversation as a chain of block hashes: two conversations share as many leading hashes as leading
 * blocks. No text is kept. The hashes choose a worker and protect nothing: a collision costs one prefill.
 */
export type PrefixKey = readonly number[];

/**
 * The parts of a body that the chat template turns into a prompt, as one text; of an image only so much as tells it from
 * others. `reply` becomes the assistant's turn.
 */
export function conversationText(body: JsonObject, reply = ''): string {
  const parts = partsOf(body).map(({ text }) => text);
  if (reply !== '') parts.push(isChat(body) ? toTurn({ role: 'assistant', content: reply }) : reply);
  return parts.join('');
}

/** Which parts of a body hold the characters of its text from `from` until `to`: `tools[0]`, `messages[2]` or `prompt`. */
export function placesOf(body: JsonObject, from: number, to: number): string[] {
  let at = 0;
  return partsOf(body).flatMap(({ place, text }) => {
    const begin = at;
    at += text.length;
    return begin < to && at > from ? place : [];
  });
}

/** Hashes the first `maxBlocks` blocks of a text; an incomplete last block is left out. */
export function prefixKey(text: string, maxBlocks = Infinity): PrefixKey {
  const key: number[] = [];
  const length = Math.min(text.length, maxBlocks * BLOCK);
  let low = 0x811c9dc5;
  let high = 0x01000193;
  for (let i = 0; i < length; i += 1) {
    const unit = text.charCodeAt(i);
    low = Math.imul(low ^ unit, 0x01000193);
    high = Math.imul(high ^ unit, 0x85ebca6b);
    high ^= high >>> 13;
    // The state is carried over, so each hash covers the whole text before it. 53 bits fit a number.
    if (i % BLOCK === BLOCK - 1) key.push((low >>> 0) * 0x20_0000 + (high >>> 11));
  }
  return key;
}

/** Number of leading blocks that two conversations share. */
export function commonBlocks(a: PrefixKey, b: PrefixKey): number {
  let blocks = 0;
  while (blocks < a.length && a[blocks] === b[blocks]) blocks += 1;
  return blocks;
}

interface Part {
  readonly place: string;
  readonly text: string;
}

function partsOf(body: JsonObject): Part[] {
  if (!isChat(body))
    return ['prompt', 'suffix'].flatMap((place) =>
      body[place] === undefined ? [] : { place, text: toText(body[place]) },
    );
  const tools = (body.tools ?? []) as JsonObject[];
  const turns = replaceImages(body, sampleOf).messages as JsonObject[];
  return [
    ...tools.map((tool, at) => ({ place: `tools[${at}]`, text: JSON.stringify(tool) })),
    ...turns.map((message, at) => ({ place: `messages[${at}]`, text: toTurn(message) })),
  ];
}

const isChat = (body: JsonObject): body is JsonObject & { messages: JsonObject[] } =>
  Array.isArray(body.messages);

/** Two images that differ elsewhere only are taken for the same, which costs a prefill. */
function sampleOf(url: string): string {
  const middle = url.length >> 1;
  return [url.length, url.slice(0, BLOCK), url.slice(middle, middle + BLOCK), url.slice(-BLOCK)].join();
}

/** The ids of calls are left out, because prompts rarely have them. */
function toTurn({ role, content, tool_calls: calls }: JsonObject): string {
  const functions = (calls ?? []) as JsonObject[];
  const called = functions.map((call) => JSON.stringify(call.function)).join('');
  return `\u0001${toText(role)}\u0002${toText(content)}${called}`;
}

function toText(value: Json | undefined): string {
  if (typeof value === 'string') return value;
  return value === undefined || value === null ? '' : JSON.stringify(value);
}
