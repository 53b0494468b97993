import { decodeSse, DONE } from '../../src/wire/sse.js';
import { BenchError } from '../errors.js';

/** Where the next turn is sent. */
export interface Destination {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** What was seen of one turn. */
export interface Turn {
  /** From the request to its first token, milliseconds. */
  readonly firstTokenMs: number;
  readonly promptTokens: number;
  /** Those of them that the worker had evaluated before. */
  readonly cachedTokens: number;
}

interface Message {
  readonly role: string;
  readonly content: string;
}

const SYSTEM: Message = { role: 'system', content: 'You are a helpful assistant.' };

/** Sentences of a user's turn. */
const SENTENCES = 2;

/**
 * Holds one conversation, turn by turn, each sent where `next` says with everything said before.
 *
 * @param name makes it unlike every other from its first words on
 */
export async function converse(
  name: string,
  turns: number,
  tokens: number,
  next: () => Destination,
  signal: AbortSignal,
): Promise<Turn[]> {
  const messages = [SYSTEM];
  const seen: Turn[] = [];
  for (let number = 1; number <= turns; number += 1) {
    messages.push({ role: 'user', content: said(name, number) });
    const { text, ...turn } = await ask(next(), messages, tokens, signal);
    messages.push({ role: 'assistant', content: text });
    seen.push(turn);
  }
  return seen;
}

function said(name: string, turn: number): string {
  return Array.from({ length: SENTENCES }, (_, n) => `${name} asks for story ${turn} of number ${n}.`).join(
    ' ',
  );
}

/** @throws BenchError for anything but a whole reply. */
async function ask(
  { url, headers }: Destination,
  messages: readonly Message[],
  tokens: number,
  signal: AbortSignal,
): Promise<Turn & { text: string }> {
  const asked = { model: 'bench', messages, max_tokens: tokens, temperature: 0, stream: true };
  const body = JSON.stringify({ ...asked, stream_options: { include_usage: true } });
  const began = performance.now();
  // The worker closes its connections after each reply, and LMServ's are treated alike.
  const init = { method: 'POST', headers: { ...headers, connection: 'close' }, body, signal };
  const response = await fetch(url, init);
  if (!response.ok || !response.body) throw new BenchError(`${url} answered ${response.status}`);
  let firstTokenMs: number | undefined;
  let text = '';
  let usage: Usage | undefined;
  for await (const data of decodeSse(response.body)) {
    if (data === DONE) break;
    const chunk = JSON.parse(data) as Chunk;
    const piece = chunk.choices[0]?.delta?.content ?? '';
    if (piece !== '') firstTokenMs ??= performance.now() - began;
    text += piece;
    usage = chunk.usage ?? usage;
  }
  if (firstTokenMs === undefined || !usage) throw new BenchError(`${url} gave no whole reply`);
  const cachedTokens = usage.prompt_tokens_details?.cached_tokens ?? 0;
  return { text, firstTokenMs, promptTokens: usage.prompt_tokens, cachedTokens };
}

interface Usage {
  readonly prompt_tokens: number;
  readonly prompt_tokens_details?: { readonly cached_tokens?: number };
}

interface Chunk {
  readonly choices: readonly { readonly delta?: { readonly content?: string | null } }[];
  readonly usage?: Usage | null;
}
