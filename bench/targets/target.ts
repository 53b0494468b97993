import type { LoadJob, ReplyFormat } from '../load/job.js';
import type { Stoppable } from '../benchmark.js';
import { KEY, type ServerProcess } from '../../test/harness/server-process.js';
import { workerUrl } from '../server.js';

/** A server under load. */
export interface Target extends Stoppable {
  readonly name: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly format: ReplyFormat;
  /** Processes that stand between client and worker; none for the worker itself. */
  readonly pids: readonly number[];
  /** A request's body. */
  body(prompt: string, tokens: number): object;
}

const SYSTEM_PROMPT = 'You are a helpful assistant.';

/** Makes a reply the same wherever it is generated. */
const SAMPLING = { temperature: 0, top_p: 1, repeat_penalty: 1 };

/** A body of OpenAI's chat completions. */
const chatCompletion = (prompt: string, tokens: number): object => ({
  model: 'bench',
  messages: [
    { role: 'system', content: SYSTEM_PROMPT },
    { role: 'user', content: prompt },
  ],
  stream: true,
  max_tokens: tokens,
  ...SAMPLING,
});

/** The same request for LMServ's `/chat`. */
const plainChat = (prompt: string, tokens: number): object => ({
  prompt,
  system_prompt: SYSTEM_PROMPT,
  max_tokens: tokens,
  ...SAMPLING,
});

const WORDS = ['bread', 'river', 'stone', 'cloud', 'apple', 'horse', 'paper', 'light', 'music', 'table'];

/**
 * Prompts of one length that begin differently, so that a worker's cache never holds more of them than the template and
 * the system prompt.
 *
 * @param first the number of the first; each number may be used once in a run
 */
export function prompts(first: number, count: number): string[] {
  return Array.from({ length: count }, (_, index) => {
    const number = String(first + index).padStart(7, '0');
    const words = [...number].map((digit) => WORDS[Number(digit)]);
    return `${number}: tell a story of ${words.join(' and ')}.`;
  });
}

let used = 0;

/** Prompts that this process has not used yet. */
export function nextPrompts(count: number): string[] {
  used += count;
  return prompts(used - count, count);
}

/** A job that asks a target for one reply to each prompt. */
export function jobFor(target: Target, texts: readonly string[], tokens: number, streams: number): LoadJob {
  const { url, headers, format } = target;
  const bodies = texts.map((text) => JSON.stringify(target.body(text, tokens)));
  return { url, headers, bodies, streams, format };
}

const COMPLETIONS = '/v1/chat/completions';

const JSON_TYPE = { 'content-type': 'application/json' };

/** What LMServ's routes need. */
export const WITH_KEY = { ...JSON_TYPE, 'x-api-key': KEY };

/** The server is stopped by whoever started it. */
const doNothing = async (): Promise<void> => undefined;

/** The endpoint of LMServ's own worker, with nothing in front of it: the reference for all others. */
export const direct = (server: ServerProcess): Target => ({
  name: 'direct',
  url: workerUrl(server) + COMPLETIONS,
  headers: JSON_TYPE,
  format: 'sse',
  pids: [],
  body: chatCompletion,
  stop: doNothing,
});

export const lmservOpenai = (server: ServerProcess): Target => ({
  name: 'lmserv-openai',
  url: server.url + COMPLETIONS,
  headers: WITH_KEY,
  format: 'sse',
  pids: [server.pid],
  body: chatCompletion,
  stop: doNothing,
});

export const lmservChat = (server: ServerProcess): Target => ({
  ...lmservOpenai(server),
  name: 'lmserv-chat',
  url: `${server.url}/chat`,
  format: 'text',
  body: plainChat,
});
