import type { RetryLimits } from './retry-policy.js';

/** Longest times, milliseconds. What a slow client takes to read is never counted, but for `totalMs`. */
export interface RemoteTimeouts {
  /** To connect, TLS included. */
  readonly connectMs: number;
  /** Without progress before the first token: waiting in the remote server's queue, its prefill. */
  readonly firstTokenMs: number;
  /** Without a token after the first one. */
  readonly tokenMs: number;
  /** For the whole reply, attempts and waits between them included. */
  readonly totalMs: number;
}

/**
 * `llama`: the server takes llama.cpp's fields besides OpenAI's: llama-server, another LMServ, and servers that
 * ignore what they do not know (vLLM, Ollama). `openai`: the server may refuse fields that are not OpenAI's, so only
 * those are sent (OpenAI, Anthropic's compatible endpoint, OpenRouter).
 */
export type RemoteKind = 'llama' | 'openai';

/** The name under which the token limit is sent; OpenAI's reasoning models take only the second. */
export type MaxTokensField = 'max_tokens' | 'max_completion_tokens';

export interface RemoteOptions {
  /** The backend's name in logs and errors. */
  readonly name: string;
  /** Of the server. Without a path `/v1` is added; with one it is taken as it is, such as `https://openrouter.ai/api/v1`. */
  readonly baseUrl: string;
  /** The model's name over there. */
  readonly model: string;
  readonly kind: RemoteKind;
  readonly maxTokensField: MaxTokensField;
  /** Sent as `Authorization: Bearer`; undefined or empty sends none. */
  readonly apiKey?: string | undefined;
  /** The environment variable the key was to come from; with it, a missing key fails each request. */
  readonly apiKeyEnv?: string | undefined;
  /** Address of an HTTP proxy to go through; the proxy variables of the environment are not looked at. */
  readonly proxy?: string | undefined;
  readonly timeouts: RemoteTimeouts;
  readonly retries: RetryLimits;
}

export const REMOTE_TIMEOUTS: RemoteTimeouts = {
  connectMs: 5_000,
  firstTokenMs: 60_000,
  tokenMs: 15_000,
  totalMs: 600_000,
};

export const REMOTE_RETRIES: RetryLimits = { attempts: 2, budgetMs: 5_000 };
