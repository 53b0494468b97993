import type { Json, JsonObject } from '../contract.js';

/** Characters to a block: about 32 tokens. A shorter common beginning is not worth a choice. */
export const BLOCK = 128;

/**
 * The beginning of a conversation as a chain of block hashes: two conversations have as many leading hashes in common as
 * they have leading blocks. Texts are not kept. A hash is for finding the right worker, not for security: a collision
 * costs a prefill.
 */
export type PrefixKey = readonly number[];

/** What the model's template makes a prompt of, as one text; a reply that was given becomes the assistant's turn. */
export function conversationText(body: JsonObject, reply = ''): string {
  if (!Array.isArray(body.messages)) return textOf(body.prompt) + reply;
  const tools = body.tools === undefined ? '' : JSON.stringify(body.tools);
  const turns = (body.messages as JsonObject[]).map(turn).join('');
  return tools + turns + (reply === '' ? '' : turn({ role: 'assistant', content: reply }));
}

/** The key of a text's first `maxBlocks` blocks; what is left over after the last whole block does not count. */
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
    // The state is carried on, so each hash stands for everything before it too. 53 bits fit a number.
    if (i % BLOCK === BLOCK - 1) key.push((low >>> 0) * 0x20_0000 + (high >>> 11));
  }
  return key;
}

function turn(message: JsonObject): string {
  return `\u0001${textOf(message.role)}\u0002${textOf(message.content)}`;
}

function textOf(value: Json | undefined): string {
  if (typeof value === 'string') return value;
  return value === undefined || value === null ? '' : JSON.stringify(value);
}
