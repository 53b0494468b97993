import type { Deadline } from './deadline.js';

/**
 * The bytes of an answer as they come, each wait for the next ones within the deadline. Leaving the loop early closes
 * the connection. (Not the stream's own iterator: Safari has none.)
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
