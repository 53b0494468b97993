import { randomUUID } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Json, JsonObject } from '../contract.js';
import { isObject } from './json-shape.js';

/** Images are by far the longest strings of a conversation: 20 MB of one must not be read or copied as if it were text. */

/** The body with another text in place of the data URL of each image; the same body if it has none. */
export function replaceImages(body: JsonObject, replace: (url: string) => string): JsonObject {
  if (!Array.isArray(body.messages) || !hasImage(body)) return body;
  const replaced = (part: Json): Json =>
    isImage(part) ? { ...part, image_url: { url: replace(part.image_url.url) } } : part;
  const messages = (body.messages as JsonObject[]).map((message) => {
    const { content } = message;
    return Array.isArray(content) ? { ...message, content: content.map(replaced) } : message;
  });
  return { ...body, messages };
}

/** Whether a message carries an image. */
export function hasImage({ messages }: JsonObject): boolean {
  if (!Array.isArray(messages)) return false;
  return (messages as JsonObject[]).some(
    ({ content }) => Array.isArray(content) && content.some((part) => isImage(part)),
  );
}

function isImage(part: Json): part is JsonObject & { image_url: { url: string } } {
  const { type, image_url: image } = (part ?? {}) as JsonObject;
  return type === 'image_url' && isObject(image) && typeof image.url === 'string';
}

/** Characters that are written as JSON without a pause. */
const PIECE = 262_144;

/** A body as a JSON text; in pieces if it has images. */
export function toJson(body: JsonObject): string | Iterable<string> {
  const urls: string[] = [];
  const mark = randomUUID();
  const marked = JSON.stringify(
    replaceImages(body, (url) => {
      urls.push(url);
      return mark;
    }),
  );
  if (urls.length === 0) return marked;
  return {
    *[Symbol.iterator]() {
      for (const [index, piece] of marked.split(mark).entries()) {
        if (index > 0) yield* pieces(urls[index - 1]!);
        yield piece;
      }
    },
  };
}

/** The inside of a JSON string. */
function* pieces(text: string): Generator<string> {
  for (let at = 0; at < text.length; at += PIECE)
    yield JSON.stringify(text.slice(at, at + PIECE)).slice(1, -1);
}

/** One piece in each turn of the event loop. */
export async function* paced(json: Iterable<string>): AsyncGenerator<string> {
  for (const piece of json) {
    yield piece;
    await nextTurn();
  }
}

/** Bytes of a text in pieces. */
export async function lengthOf(json: Iterable<string>): Promise<number> {
  let bytes = 0;
  for await (const piece of paced(json)) bytes += Buffer.byteLength(piece);
  return bytes;
}
