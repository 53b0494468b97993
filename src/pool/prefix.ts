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
  if (!Array.isArray(body.messages)) return toText(body.prompt) + reply;
  const tools = body.tools === undefined ? '' : JSON.stringify(body.tools);
  const turns = (replaceImages(body, sampleOf).messages as JsonObject[]).map(toTurn).join('');
  return tools + turns + (reply === '' ? '' : toTurn({ role: 'assistant', content: reply }));
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

/** Two images that differ elsewhere only are taken for the same, which costs a prefill. */
function sampleOf(url: string): string {
  const middle = url.length >> 1;
  return [url.length, url.slice(0, BLOCK), url.slice(middle, middle + BLOCK), url.slice(-BLOCK)].join();
}

function toTurn(message: JsonObject): string {
  return `\u0001${toText(message.role)}\u0002${toText(message.content)}`;
}

function toText(value: Json | undefined): string {
  if (typeof value === 'string') return value;
  return value === undefined || value === null ? '' : JSON.stringify(value);
}
