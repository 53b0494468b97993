import { createClient, type Client, type ClientOptions } from '../../../src/client/index.js';
import type { GenerateOptions } from '../../../src/client/index.js';
import { fakeServer, type Reply } from '../../support/fake-server.js';

export const KEY = 'canary-key-7';

/** A client without a fallback, and the server that it asks. */
export async function clientOf(reply: Reply, options: ClientOptions = {}) {
  const server = await fakeServer(reply);
  return { ...server, client: createClient({ baseUrl: server.url, fallback: 'none', ...options }) };
}

/** What a stream yields, and what it throws at the end. */
export async function drain(source: AsyncIterable<string>, onText = (_text: string): void => undefined) {
  const texts: string[] = [];
  try {
    for await (const text of source) {
      texts.push(text);
      onText(text);
    }
  } catch (thrown) {
    return { texts, thrown };
  }
  return { texts, thrown: undefined };
}

/** The texts of a stream that does not fail. */
export async function collect(source: AsyncIterable<string>): Promise<string[]> {
  const texts: string[] = [];
  for await (const text of source) texts.push(text);
  return texts;
}

/** What a promise rejects with; the test fails if it does not. */
export function failure(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    (value) => Promise.reject(new Error(`expected a failure, got ${JSON.stringify(value)}`)),
    (thrown: unknown) => thrown,
  );
}

/** The failures of `generate` and of `stream`. */
export async function failures(client: Client, options?: GenerateOptions): Promise<unknown[]> {
  const whole = await failure(client.generate('hi', options));
  return [whole, await failure(collect(client.stream('hi', options)))];
}
