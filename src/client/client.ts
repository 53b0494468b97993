import { complete, texts } from './answer.js';
import { ambientEnv, optionsFromEnv } from './env.js';
import { checkOptions, makePlan } from './plan.js';
import type { Client, ClientOptions, GenerateOptions } from './types.js';

/**
 * A client with options of its own; no environment variable is read, so it works alike in Node and in a browser.
 *
 * @throws InvalidOptionError naming the option that cannot be used.
 */
export function createClient(options: ClientOptions = {}): Client {
  checkOptions(options);
  return {
    generate: async (prompt, call = {}) => complete(makePlan(options, prompt, call)),
    stream: (prompt, call = {}) => texts(makePlan(options, prompt, call)),
  };
}

/** `Client.generate` of a client configured by the LLM_* variables, as they are at the time of the call. */
export async function generate(prompt: string, options?: GenerateOptions): Promise<string> {
  return environmentClient().generate(prompt, options);
}

/** `Client.stream` of a client configured by the LLM_* variables, as they are at the time of the call. */
export function stream(prompt: string, options?: GenerateOptions): AsyncIterable<string> {
  return environmentClient().stream(prompt, options);
}

const environmentClient = (): Client => createClient(optionsFromEnv(ambientEnv()));
