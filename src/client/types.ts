/** What callers of the client library hand in and get back. Types only. */

/**
 * Who replies: `lan` an LMServ, `openai` OpenAI's API or anything that speaks it, `local` the raw `/llm` route of an
 * LMServ (no chat template), `stub` a canned text without any network.
 */
export type ProviderName = 'lan' | 'openai' | 'local' | 'stub';

/** One provider and how to reach it. What is left out or undefined takes the default given. */
export interface TargetOptions {
  /** Default `lan`. */
  readonly provider?: ProviderName | undefined;
  /** Default `http://localhost:8000`; for `openai`, `https://api.openai.com`. With or without a final `/v1`. */
  readonly baseUrl?: string | undefined;
  /** The whole address that `local` posts to; default `{baseUrl}/llm`. */
  readonly url?: string | undefined;
  /** Sent as `Authorization: Bearer`; blank sends none. */
  readonly apiKey?: string | undefined;
  /** Default `default` for `lan`, `gpt-4o-mini` for `openai`; `local` sends none. */
  readonly model?: string | undefined;
}

export interface ClientOptions extends TargetOptions {
  /**
   * The provider to use if the first one fails; default: `stub`. A name shares the address and key above where they can
   * be meant for it (between `lan` and `local`); options of its own name another server. `none` turns it off.
   */
  readonly fallback?: ProviderName | 'none' | TargetOptions | undefined;
  /**
   * Seconds, above 0; default 60. `generate` has it for the whole reply; a stream for the first byte, and again for
   * each next one.
   */
  readonly timeoutSecs?: number | undefined;
  /** Where warnings go; default `process.emitWarning`, in a browser `console.warn`. */
  readonly warn?: ((message: string) => void) | undefined;
}

/** Options of one call; what is left out is as the client was configured. */
export interface GenerateOptions {
  /** 0 to 2; the server's default when left out. */
  readonly temperature?: number | undefined;
  /** Tokens to generate at most, 1 or more; the server's default when left out. */
  readonly maxTokens?: number | undefined;
  readonly provider?: ProviderName | undefined;
  /** Aborting it stops the generation; the call then throws the signal's reason, and no fallback replies. */
  readonly signal?: AbortSignal | undefined;
  /** The system message. `local` has no chat template, so there it is put before the prompt. */
  readonly system?: string | undefined;
  readonly model?: string | undefined;
  /** Another server for this call. The configured key is not sent to another origin: give `apiKey` with it. */
  readonly baseUrl?: string | undefined;
  readonly apiKey?: string | undefined;
}

export interface Client {
  /**
   * The whole reply to a prompt.
   *
   * @throws LLMClientError when the provider and its fallback failed; the signal's reason when it was aborted.
   */
  generate(prompt: string, options?: GenerateOptions): Promise<string>;
  /**
   * The reply in pieces as they arrive. Nothing is sent before the first piece is requested; leaving the loop early
   * stops the generation. The fallback replies only while nothing has been yielded.
   *
   * @throws LLMClientError, `BrokenStreamError` when the reply was cut; the signal's reason when it was aborted.
   */
  stream(prompt: string, options?: GenerateOptions): AsyncIterable<string>;
}

/** A part of a reply; the last one of a chat names why it ended (`stop`, `length`, …) where the server said so. */
export interface Piece {
  readonly text: string;
  readonly finishReason?: string | undefined;
}

/** One provider, resolved and checked. */
export interface Target {
  readonly provider: ProviderName;
  /** Where requests are posted. */
  readonly url: string;
  /** Scheme, host and port, all that messages show of an address. */
  readonly origin: string;
  readonly apiKey: string | undefined;
  readonly model: string;
}

/** One call, resolved and checked. */
export interface Call {
  readonly prompt: string;
  readonly system: string | undefined;
  readonly temperature: number | undefined;
  readonly maxTokens: number | undefined;
  readonly signal: AbortSignal | undefined;
  readonly timeoutMs: number;
}

/** How one kind of server is spoken to. Both throw `LLMClientError`, or the reason of the call's signal. */
export interface Provider {
  complete(target: Target, call: Call): Promise<Piece>;
  stream(target: Target, call: Call): AsyncGenerator<Piece>;
}
