import type { Deadline } from './deadline.js';

/**
 * The bytes of a reply in the order they arrive, each wait within the deadline. Leaving the loop early closes
 * the connection. (Safari has no iterator for streams.)
 */
export async function* readBytes(response: Response, deadline: Deadline): AsyncGenerator<Uint8Array> {
  // Node's types leave the chunks of a body open; fetch promises bytes.
  const body: ReadableStream<Uint8Array> | null = response.body;
  const reader = body?.getReader();
  if (reader === undefined) return;
  try {
    for (;;) {
      const { done, value } = await deadline.run(() => reader.read());
      if (done) return;
      yield value;
    }
  } finally {
    // After a failure there is nothing left to cancel, and saying so again helps nobody.
    reader.cancel().catch(() => undefined);
  }
}

/**
 * The text of an answer; undefined, and the rest of it not read, when it has more than `maxBytes` bytes.
 *
 * @throws as `readBytes`.
 */
export async function readText(
  response: Response,
  deadline: Deadline,
  maxBytes: number,
): Promise<string | undefined> {
  const decoder = new TextDecoder();
  let text = '';
  let size = 0;
  for await (const bytes of readBytes(response, deadline)) {
    size += bytes.length;
    if (size > maxBytes) return undefined;
    text += decoder.decode(bytes, { stream: true });
  }
  return text + decoder.decode();
}
