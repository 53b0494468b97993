import type { LoadJob, ReplyFormat } from '../load/job.js';
import type { Stoppable } from '../program.js';

/** Something that answers requests, and that load is put on. */
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

/** What makes a reply the same wherever it is asked for. */
const SAMPLING = { temperature: 0, top_p: 1, repeat_penalty: 1 };

/** A body of OpenAI's chat completions. */
export const chatCompletion = (prompt: string, tokens: number): object => ({
  model: 'bench',
  messages: [
    { role: 'system', content: SYSTEM_PROMPT },
    { role: 'user', content: prompt },
  ],
  stream: true,
  max_tokens: tokens,
  ...SAMPLING,
});

/** A body of LMServ's own `/chat` that asks for the same. */
export const plainChat = (prompt: string, tokens: number): object => ({
  prompt,
  system_prompt: SYSTEM_PROMPT,
  max_tokens: tokens,
  ...SAMPLING,
});

const WORDS = ['bread', 'river', 'stone', 'cloud', 'apple', 'horse', 'paper', 'light', 'music', 'table'];

/**
 * Prompts of one length that begin differently, so that nothing but the template and the system prompt is ever found in
 * a worker's cache, whoever asked before.
 *
 * @param first the number of the first; no number may be used twice in a run
 */
export function prompts(first: number, count: number): string[] {
  return Array.from({ length: count }, (_, index) => {
    const number = String(first + index).padStart(7, '0');
    const words = [...number].map((digit) => WORDS[Number(digit)]);
    return `${number}: tell a story of ${words.join(' and ')}.`;
  });
}

let used = 0;

/** Prompts that nobody in this process has asked for yet. */
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
