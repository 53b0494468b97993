import { UserError } from '../src/errors.js';
import { decodeSse, DONE } from '../src/wire/sse.js';

/** Where the next turn is sent. */
export interface Destination {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** What was seen of one turn. */
export interface Turn {
  /** From the request to its first token. */
  readonly firstTokenMs: number;
  readonly promptTokens: number;
  /** Those of them that the worker had evaluated before. */
  readonly cachedTokens: number;
}

/** A conversation in which everything said before is sent again with each turn. */
export class Conversation {
  readonly #name: string;
  readonly #messages = [{ role: 'system', content: 'You are a helpful assistant.' }];
  #turns = 0;

  /** @param name makes it unlike every other. */
  constructor(name: string) {
    this.#name = name;
  }

  /** @throws UserError for anything but a whole reply. */
  async turn(to: Destination, tokens: number, signal: AbortSignal): Promise<Turn> {
    this.#turns += 1;
    const said = [0, 1].map((n) => `${this.#name} asks for story ${this.#turns} of number ${n}.`).join(' ');
    this.#messages.push({ role: 'user', content: said });
    const { text, ...seen } = await ask(to, this.#messages, tokens, signal);
    this.#messages.push({ role: 'assistant', content: text });
    return seen;
  }
}

/** @throws UserError for anything but a whole reply. */
async function ask(
  { url, headers }: Destination,
  messages: readonly object[],
  tokens: number,
  signal: AbortSignal,
): Promise<Turn & { text: string }> {
  const asked = { model: 'bench', messages, max_tokens: tokens, temperature: 0, stream: true };
  const body = JSON.stringify({ ...asked, stream_options: { include_usage: true } });
  const began = performance.now();
  // The worker closes its connections after each reply, and LMServ's are treated alike.
  const init = { method: 'POST', headers: { ...headers, connection: 'close' }, body, signal };
  const response = await fetch(url, init);
  if (!response.ok || !response.body) throw new UserError(`${url} replied ${response.status}`);
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
  if (firstTokenMs === undefined || !usage) throw new UserError(`${url} gave no whole reply`);
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
